// The NATS server with its WebSocket listener alone: no TLS, no authentication, no TCP clients, defaults otherwise.
package main

import (
	"fmt"
	"log"
	"runtime"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

func main() {
	runtime.GOMAXPROCS(1)
	nats, err := server.NewServer(&server.Options{
		DontListen: true,
		NoLog:      true,
		NoSigs:     true,
		Websocket:  server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoTLS: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	nats.Start()
	if !nats.ReadyForConnections(10 * time.Second) {
		log.Fatal("the NATS server is not ready after 10 s")
	}
	fmt.Printf("listening on %s\n", strings.Replace(nats.WebsocketURL(), "ws://", "http://", 1))
	nats.WaitForShutdown()
}
