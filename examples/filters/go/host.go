package main

import (
	"encoding/binary"
	"unsafe"
)

const (
	requestHeaders  = 0
	responseHeaders = 2
	callHeaders     = 6
	proceed         = 0
	pause           = 1
)

//go:wasmimport env proxy_get_header_map_value
func proxyGetValue(kind uint32, key unsafe.Pointer, keys uint32, value, values unsafe.Pointer) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceValue(kind uint32, key unsafe.Pointer, keys uint32, value unsafe.Pointer, values uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyRemoveValue(kind uint32, key unsafe.Pointer, keys uint32) uint32

//go:wasmimport env proxy_set_effective_context
func proxyEffective(id uint32) uint32

//go:wasmimport env proxy_continue_stream
func proxyContinue(stream uint32) uint32

//go:wasmimport env proxy_send_local_response
func proxyReply(code uint32, details unsafe.Pointer, detail uint32, body unsafe.Pointer, bodies uint32, pairs unsafe.Pointer, pair uint32, grpc int32) uint32

//go:wasmimport env proxy_http_call
func proxyCall(to unsafe.Pointer, tos uint32, pairs unsafe.Pointer, pair uint32, body unsafe.Pointer, bodies uint32, trailers unsafe.Pointer, trailer uint32, timeout uint32, token unsafe.Pointer) uint32

// What the host was given and the filter has not taken yet; the collector must not move or free it.
var given = map[*byte][]byte{}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	block := make([]byte, size)
	given[&block[0]] = block
	return unsafe.Pointer(&block[0])
}

func text(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

func get(kind uint32, name string) string {
	var data *byte
	var len uint32
	at, size := text(name)
	if proxyGetValue(kind, at, size, unsafe.Pointer(&data), unsafe.Pointer(&len)) != 0 || len == 0 {
		return ""
	}
	block := given[data]
	delete(given, data)
	return string(block[:len])
}

func set(kind uint32, name, value string) {
	at, size := text(name)
	to, len := text(value)
	proxyReplaceValue(kind, at, size, to, len)
}

func remove(kind uint32, name string) {
	at, size := text(name)
	proxyRemoveValue(kind, at, size)
}

func reply(code uint32, body string) {
	to, len := text(body)
	proxyReply(code, nil, 0, to, len, nil, 0, -1)
}

func call(upstream string, head [][2]string, timeout uint32) (token, status uint32) {
	up, ups := text(upstream)
	pairs := serialize(head)
	status = proxyCall(up, ups, unsafe.Pointer(&pairs[0]), uint32(len(pairs)), nil, 0, nil, 0, timeout, unsafe.Pointer(&token))
	return token, status
}

// Pairs as the ABI writes them: how many, the sizes of all, then names and values, each with a zero after it.
func serialize(fields [][2]string) []byte {
	data := binary.LittleEndian.AppendUint32(nil, uint32(len(fields)))
	for _, field := range fields {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(field[0])))
		data = binary.LittleEndian.AppendUint32(data, uint32(len(field[1])))
	}
	for _, field := range fields {
		data = append(append(data, field[0]...), 0)
		data = append(append(data, field[1]...), 0)
	}
	return data
}
