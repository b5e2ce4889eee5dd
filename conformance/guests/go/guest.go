// The guest's work (see ../README.md) in Go, without an SDK: a WASI reactor, ABI 0.2.1.
//
// host.go declares what the host has; this file is what the host calls.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
)

func main() {}

type request struct {
	path  string
	waits bool
}

var (
	config   string
	requests = map[uint32]*request{}
	calls    = map[uint32]uint32{}
)

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_context_create
func onContextCreate(id, parent uint32) {
	if parent != 0 {
		requests[id] = &request{}
	}
}

//go:wasmexport proxy_on_configure
func onConfigure(root, size uint32) uint32 {
	config = string(buffer(pluginConfig, size))
	proxyTick(10)
	// Standard output becomes log lines too.
	fmt.Printf("configured with %d bytes\n", size)
	if config == "refuse" {
		return 0
	}
	return 1
}

//go:wasmexport proxy_on_tick
func onTick(root uint32) {
	for id, r := range requests {
		if r.waits {
			r.waits = false
			proxyEffective(id)
			set(requestHeaders, "x-woken", "tick")
			proxyContinue(0)
		}
	}
	// Collections happen while the host waits, and while it asks for memory.
	runtime.GC()
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, fields, end uint32) uint32 {
	r := requests[id]
	r.path = get(requestHeaders, ":path")
	set(requestHeaders, "x-guest", config)
	remove(requestHeaders, "x-unwanted")
	switch r.path {
	case "/reply":
		reply(403, [][2]string{{"x-by", "guest"}}, "denied by the guest")
		return pause
	case "/call":
		head := [][2]string{{":method", "POST"}, {":path", "/auth"}, {":authority", "auth.test"}}
		token, status := call("auth", head, "token", 5000)
		if status != 0 {
			say(fmt.Sprintf("the call was refused: %d", status))
		}
		calls[token] = id
		return pause
	case "/tick":
		r.waits = true
		return pause
	case "/shared":
		set(requestHeaders, "x-hits", fmt.Sprint(count()))
	case "/pairs":
		set(requestHeaders, "x-names", names())
	case "/property":
		set(requestHeaders, "x-property", property("request\x00method")+" "+property("request\x00path"))
	case "/append", "/replace":
		remove(requestHeaders, "content-length")
	}
	return proceed
}

func count() uint32 {
	value, cas := shared("hits")
	var hits uint32
	if len(value) == 4 {
		hits = binary.LittleEndian.Uint32(value)
	}
	hits++
	if status := setShared("hits", binary.LittleEndian.AppendUint32(nil, hits), cas); status != 0 {
		say(fmt.Sprintf("shared data: %d", status))
	}
	return hits
}

func names() string {
	data := pairs(requestHeaders)
	if len(data) < 4 {
		return ""
	}
	n := binary.LittleEndian.Uint32(data)
	rest := bytes.Split(data[4+8*n:], []byte{0})
	var list [][]byte
	for i := uint32(0); i < n; i++ {
		list = append(list, rest[2*i])
	}
	return string(bytes.Join(list, []byte(" ")))
}

//go:wasmexport proxy_on_request_body
func onRequestBody(id, size, end uint32) uint32 {
	switch requests[id].path {
	case "/append":
		if end != 0 {
			setBuffer(requestBody, size, 0, []byte(" and the guest"))
		}
	case "/replace":
		if end == 0 {
			return pause
		}
		setBuffer(requestBody, 0, size, bytes.ToUpper(buffer(requestBody, size)))
	}
	return proceed
}

//go:wasmexport proxy_on_http_call_response
func onCallResponse(root, token, fields, size, trailers uint32) {
	if fields > 0 {
		say("answer with some fields")
	} else {
		say("answer with no fields")
	}
	text := get(callHeaders, ":status") + " " + string(buffer(callBody, size))
	if id, ok := calls[token]; ok {
		delete(calls, token)
		proxyEffective(id)
		set(requestHeaders, "x-auth", text)
		proxyContinue(0)
	}
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(id, fields, end uint32) uint32 {
	set(responseHeaders, "x-answer", config)
	if requests[id].path == "/answer" {
		remove(responseHeaders, "content-length")
	}
	return proceed
}

//go:wasmexport proxy_on_response_body
func onResponseBody(id, size, end uint32) uint32 {
	if requests[id].path != "/answer" {
		return proceed
	}
	if end == 0 {
		return pause
	}
	setBuffer(responseBody, 0, size, []byte("the guest's answer"))
	return proceed
}

//go:wasmexport proxy_on_log
func onLog(id uint32) { say("served " + requests[id].path) }

//go:wasmexport proxy_on_delete
func onDelete(id uint32) { delete(requests, id) }
