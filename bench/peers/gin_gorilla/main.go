// Echo, fan-out and rooms as most Go services do them: gin routes the request, gorilla/websocket upgrades it, two goroutines
// serve a subscriber, and a hub hands publications to them.
// Arguments: --deflate; --cert FILE --key FILE for TLS.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
)

// Buffer sizes are gorilla's default: the ones of the HTTP server are used on.
var upgrader = websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}

func main() {
	flag.BoolVar(&upgrader.EnableCompression, "deflate", false, "compress messages, no context taken over")
	cert := flag.String("cert", "", "certificate, for TLS")
	key := flag.String("key", "", "its key")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	gin.SetMode(gin.ReleaseMode)
	hub := newHub()
	go hub.run()

	router := gin.New() // gin.Default() would log every request
	router.GET("/echo", upgraded(echo))
	router.GET("/fanout", upgraded(hub.subscribe))
	router.GET("/publish", upgraded(hub.publish))
	router.GET("/rooms/:name", newRooms().enter)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	if *cert != "" {
		log.Fatal(http.ServeTLS(listener, router, *cert, *key))
	}
	log.Fatal(http.Serve(listener, router))
}

func upgraded(serve func(*websocket.Conn)) gin.HandlerFunc {
	return func(context *gin.Context) {
		connection, err := upgrader.Upgrade(context.Writer, context.Request, nil)
		if err != nil {
			return // answered by the upgrader
		}
		serve(connection)
	}
}

func echo(connection *websocket.Conn) {
	defer connection.Close()
	for {
		kind, message, err := connection.ReadMessage()
		if err != nil || connection.WriteMessage(kind, message) != nil {
			return
		}
	}
}
