// Refuses a path, asks an auth server, adds a field to responses. See ../README.md.
//
// host.go declares what the host has; this file is what the host calls.
package main

func main() {}

// Requests that wait for the answer to their call, by its token.
var waiting = map[uint32]uint32{}

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, fields, end uint32) uint32 {
	if get(requestHeaders, ":path") == "/private" {
		reply(403, "private")
		return pause
	}
	head := [][2]string{
		{":method", "GET"},
		{":path", "/check"},
		{":authority", "auth"},
		{"authorization", get(requestHeaders, "authorization")},
	}
	token, status := call("auth", head, 1000)
	if status != 0 {
		reply(401, "who are you?")
		return pause
	}
	waiting[token] = id
	return pause
}

//go:wasmexport proxy_on_http_call_response
func onHTTPCallResponse(root, token, fields, size, trailers uint32) {
	id, known := waiting[token]
	if !known {
		return
	}
	delete(waiting, token)
	status, user := get(callHeaders, ":status"), get(callHeaders, "x-user")
	proxyEffective(id)
	if status != "200" {
		reply(401, "who are you?")
		return
	}
	remove(requestHeaders, "x-user")
	if user != "" {
		set(requestHeaders, "x-user", user)
	}
	proxyContinue(0)
}

//go:wasmexport proxy_on_response_headers
func onResponseHeaders(id, fields, end uint32) uint32 {
	set(responseHeaders, "x-filter", "go")
	return proceed
}

//go:wasmexport proxy_on_delete
func onDelete(id uint32) {
	for token, other := range waiting {
		if other == id {
			delete(waiting, token)
		}
	}
}
