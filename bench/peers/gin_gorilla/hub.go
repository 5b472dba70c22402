package main

import (
	"time"

	"github.com/gorilla/websocket"
)

const (
	// A subscriber whose queue is full is dropped. 25 bursts of 10 publications may wait before that happens.
	queuedMessages = 256
	writeWait      = 10 * time.Second
	pongWait       = 60 * time.Second
	pingPeriod     = pongWait * 9 / 10
)

// A subscriber is served by two goroutines: one reads, so that pongs and closes are seen, one writes what is queued.
type subscriber struct {
	connection *websocket.Conn
	queue      chan []byte
}

// The hub is one goroutine: it alone touches the set of subscribers and closes their queues.
type hub struct {
	subscribers  map[*subscriber]struct{}
	joining      chan *subscriber
	leaving      chan *subscriber
	publications chan []byte
}

func newHub() *hub {
	return &hub{
		subscribers:  make(map[*subscriber]struct{}),
		joining:      make(chan *subscriber),
		leaving:      make(chan *subscriber),
		publications: make(chan []byte),
	}
}

func (h *hub) run() {
	for {
		select {
		case s := <-h.joining:
			h.subscribers[s] = struct{}{}
		case s := <-h.leaving:
			h.drop(s)
		case message := <-h.publications:
			for s := range h.subscribers {
				select {
				case s.queue <- message:
				default:
					h.drop(s)
				}
			}
		}
	}
}

func (h *hub) drop(s *subscriber) {
	if _, there := h.subscribers[s]; there {
		delete(h.subscribers, s)
		close(s.queue)
	}
}

// converse makes the connection a member of a room: it hears what the members say, and says what it reads.
func (h *hub) converse(connection *websocket.Conn) {
	s := &subscriber{connection: connection, queue: make(chan []byte, queuedMessages)}
	h.joining <- s
	go s.write()
	s.read(func(message []byte) { h.publications <- message })
	h.leaving <- s
	connection.Close()
}

// publish hands every message of the connection to the hub; the connection itself hears nothing.
func (h *hub) publish(connection *websocket.Conn) {
	defer connection.Close()
	for {
		_, message, err := connection.ReadMessage()
		if err != nil {
			return
		}
		h.publications <- message
	}
}

func (h *hub) subscribe(connection *websocket.Conn) {
	s := &subscriber{connection: connection, queue: make(chan []byte, queuedMessages)}
	h.joining <- s
	go s.write()
	s.read(func([]byte) {})
	h.leaving <- s
	connection.Close()
}

func (s *subscriber) read(heard func([]byte)) {
	alive := func(string) error { return s.connection.SetReadDeadline(time.Now().Add(pongWait)) }
	s.connection.SetPongHandler(alive)
	alive("")
	for {
		_, message, err := s.connection.ReadMessage()
		if err != nil {
			return
		}
		heard(message)
	}
}

func (s *subscriber) write() {
	pings := time.NewTicker(pingPeriod)
	defer pings.Stop()
	defer s.connection.Close()
	for {
		select {
		case message, open := <-s.queue:
			s.connection.SetWriteDeadline(time.Now().Add(writeWait))
			if !open {
				s.connection.WriteMessage(websocket.CloseMessage, nil)
				return
			}
			if s.writeJoined(message) != nil {
				return
			}
		case <-pings.C:
			s.connection.SetWriteDeadline(time.Now().Add(writeWait))
			if s.connection.WriteMessage(websocket.PingMessage, nil) != nil {
				return
			}
		}
	}
}

// writeJoined sends one WebSocket message: the publication, and on lines of their own those that wait behind it.
func (s *subscriber) writeJoined(message []byte) error {
	writer, err := s.connection.NextWriter(websocket.TextMessage)
	if err != nil {
		return err
	}
	writer.Write(message)
	for waiting := len(s.queue); waiting > 0; waiting-- {
		writer.Write([]byte{'\n'})
		writer.Write(<-s.queue)
	}
	return writer.Close()
}
