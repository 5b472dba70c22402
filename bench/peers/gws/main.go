// Echo and fan-out on gws: its own event loop per connection, its Broadcaster for publications.
// Arguments: --deflate; --cert FILE --key FILE for TLS.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"

	"github.com/lxzan/gws"
)

var (
	deflate = flag.Bool("deflate", false, "compress messages, no context taken over")
	cert    = flag.String("cert", "", "certificate, for TLS")
	key     = flag.String("key", "", "its key")
)

func main() {
	runtime.GOMAXPROCS(1)
	flag.Parse()
	subscribers := gws.NewConcurrentMap[*gws.Conn, struct{}]()

	routes := http.NewServeMux()
	routes.HandleFunc("/echo", upgraded(&echo{}))
	routes.HandleFunc("/fanout", upgraded(&fanout{subscribers: subscribers}))
	routes.HandleFunc("/publish", upgraded(&publish{subscribers: subscribers}))

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	if *cert != "" {
		log.Fatal(http.ServeTLS(listener, routes, *cert, *key))
	}
	log.Fatal(http.Serve(listener, routes))
}

// All other options are the defaults of gws: no check of UTF-8, one goroutine per connection.
func upgraded(events gws.Event) http.HandlerFunc {
	upgrader := gws.NewUpgrader(events, &gws.ServerOption{PermessageDeflate: gws.PermessageDeflate{Enabled: *deflate}})
	return func(writer http.ResponseWriter, request *http.Request) {
		connection, err := upgrader.Upgrade(writer, request)
		if err != nil {
			return // the upgrader has closed the connection
		}
		// A goroutine of its own: what the HTTP server allocated for the request is freed when this one returns.
		go connection.ReadLoop()
	}
}

// A pong has to carry the payload of its ping (RFC 6455, 5.5.3); the one of BuiltinEventHandler is empty.
type answersPings struct{ gws.BuiltinEventHandler }

func (answersPings) OnPing(connection *gws.Conn, payload []byte) { connection.WritePong(payload) }

type echo struct{ answersPings }

func (*echo) OnMessage(connection *gws.Conn, message *gws.Message) {
	defer message.Close()
	connection.WriteMessage(message.Opcode, message.Bytes())
}

type fanout struct {
	answersPings
	subscribers *gws.ConcurrentMap[*gws.Conn, struct{}]
}

func (f *fanout) OnOpen(connection *gws.Conn)           { f.subscribers.Store(connection, struct{}{}) }
func (f *fanout) OnClose(connection *gws.Conn, _ error) { f.subscribers.Delete(connection) }

type publish struct {
	answersPings
	subscribers *gws.ConcurrentMap[*gws.Conn, struct{}]
}

func (p *publish) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer message.Close()
	broadcaster := gws.NewBroadcaster(message.Opcode, message.Bytes())
	defer broadcaster.Close()
	p.subscribers.Range(func(connection *gws.Conn, _ struct{}) bool {
		broadcaster.Broadcast(connection)
		return true
	})
}
