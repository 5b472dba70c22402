// Echo and fan-out on uWebSockets itself, without a binding: its own topics spread what comes in on /publish.
#include <cstdio>
#include <string_view>

#include "App.h"

namespace {

struct Nothing {};
using Socket = uWS::WebSocket<false, true, Nothing>;
using Behavior = uWS::TemplatedApp<false>::WebSocketBehavior<Nothing>;

constexpr unsigned int largest_message = 16u << 20;

// Beyond the backpressure of a socket messages are dropped; the default of 64 KiB would drop echoes of long ones.
Behavior behavior() { return {.maxPayloadLength = largest_message, .maxBackpressure = largest_message}; }

void listening(us_listen_socket_t *listener) {
    if (!listener) return;
    std::printf("listening on http://127.0.0.1:%d\n", us_socket_local_port(0, reinterpret_cast<us_socket_t *>(listener)));
    std::fflush(stdout);
}

}  // namespace

int main() {
    uWS::App app;

    Behavior echo = behavior();
    echo.message = [](Socket *socket, std::string_view message, uWS::OpCode kind) { socket->send(message, kind); };

    Behavior fanout = behavior();
    fanout.open = [](Socket *socket) { socket->subscribe("bench"); };

    Behavior publish = behavior();
    publish.message = [&app](Socket *, std::string_view message, uWS::OpCode kind) {
        app.publish("bench", message, kind);
    };

    app.ws<Nothing>("/echo", std::move(echo));
    app.ws<Nothing>("/fanout", std::move(fanout));
    app.ws<Nothing>("/publish", std::move(publish));
    app.listen("127.0.0.1", 0, listening);
    app.run();
}
