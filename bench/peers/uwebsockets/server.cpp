// Echo, fan-out and rooms on uWebSockets itself, without a binding: its own topics spread what comes in on /publish, and
// what a member of /rooms/NAME says.
#include <cstdio>
#include <string>
#include <string_view>

#include "App.h"

namespace {

struct Nothing {};
struct Member {
    std::string room;
};

template <typename Data> using SocketOf = uWS::WebSocket<false, true, Data>;
template <typename Data> using BehaviorOf = uWS::TemplatedApp<false>::WebSocketBehavior<Data>;
using Socket = SocketOf<Nothing>;
using Behavior = BehaviorOf<Nothing>;

constexpr unsigned int largest_message = 16u << 20;

// Beyond the backpressure of a socket messages are dropped; the default of 64 KiB would drop echoes of long ones.
template <typename Data = Nothing> BehaviorOf<Data> behavior() {
    return {.maxPayloadLength = largest_message, .maxBackpressure = largest_message};
}

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

    BehaviorOf<Member> rooms = behavior<Member>();
    rooms.upgrade = [](auto *response, auto *request, auto *context) {
        response->template upgrade<Member>({.room = std::string(request->getParameter(0))},
                                           request->getHeader("sec-websocket-key"),
                                           request->getHeader("sec-websocket-protocol"),
                                           request->getHeader("sec-websocket-extensions"), context);
    };
    rooms.open = [](SocketOf<Member> *socket) { socket->subscribe(socket->getUserData()->room); };
    rooms.message = [&app](SocketOf<Member> *socket, std::string_view message, uWS::OpCode kind) {
        app.publish(socket->getUserData()->room, message, kind);
    };

    app.ws<Nothing>("/echo", std::move(echo));
    app.ws<Nothing>("/fanout", std::move(fanout));
    app.ws<Nothing>("/publish", std::move(publish));
    app.ws<Member>("/rooms/:name", std::move(rooms));
    app.listen("127.0.0.1", 0, listening);
    app.run();
}
