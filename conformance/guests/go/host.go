package main

import (
	"encoding/binary"
	"unsafe"
)

const (
	requestHeaders  = 0
	responseHeaders = 2
	callHeaders     = 6
	requestBody     = 0
	responseBody    = 1
	callBody        = 4
	pluginConfig    = 7
	proceed         = 0
	pause           = 1
)

//go:wasmimport env proxy_log
func proxyLog(level uint32, text unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func proxyGetBuffer(kind, start, max uint32, data, size unsafe.Pointer) uint32

//go:wasmimport env proxy_set_buffer_bytes
func proxySetBuffer(kind, start, len uint32, data unsafe.Pointer, size uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func proxyGetValue(kind uint32, key unsafe.Pointer, keys uint32, value, values unsafe.Pointer) uint32

//go:wasmimport env proxy_replace_header_map_value
func proxyReplaceValue(kind uint32, key unsafe.Pointer, keys uint32, value unsafe.Pointer, values uint32) uint32

//go:wasmimport env proxy_remove_header_map_value
func proxyRemoveValue(kind uint32, key unsafe.Pointer, keys uint32) uint32

//go:wasmimport env proxy_get_header_map_pairs
func proxyGetPairs(kind uint32, data, size unsafe.Pointer) uint32

//go:wasmimport env proxy_get_property
func proxyGetProperty(path unsafe.Pointer, paths uint32, value, values unsafe.Pointer) uint32

//go:wasmimport env proxy_set_tick_period_milliseconds
func proxyTick(period uint32) uint32

//go:wasmimport env proxy_set_effective_context
func proxyEffective(id uint32) uint32

//go:wasmimport env proxy_continue_stream
func proxyContinue(stream uint32) uint32

//go:wasmimport env proxy_send_local_response
func proxyReply(code uint32, details unsafe.Pointer, detail uint32, body unsafe.Pointer, bodies uint32, pairs unsafe.Pointer, pair uint32, grpc int32) uint32

//go:wasmimport env proxy_http_call
func proxyCall(to unsafe.Pointer, tos uint32, pairs unsafe.Pointer, pair uint32, body unsafe.Pointer, bodies uint32, trailers unsafe.Pointer, trailer uint32, timeout uint32, token unsafe.Pointer) uint32

//go:wasmimport env proxy_get_shared_data
func proxyGetShared(key unsafe.Pointer, keys uint32, value, values, cas unsafe.Pointer) uint32

//go:wasmimport env proxy_set_shared_data
func proxySetShared(key unsafe.Pointer, keys uint32, value unsafe.Pointer, values uint32, cas uint32) uint32

// What the host was given and the guest has not taken yet; the collector must not move or free it.
var given = map[*byte][]byte{}

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) unsafe.Pointer {
	block := make([]byte, size)
	given[&block[0]] = block
	return unsafe.Pointer(&block[0])
}

// Takes a block that the host filled.
func take(data *byte, size uint32) []byte {
	if data == nil || size == 0 {
		return nil
	}
	block := given[data]
	delete(given, data)
	return block[:size]
}

func text(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

func slice(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

func say(s string) {
	at, size := text(s)
	proxyLog(2, at, size)
}

func buffer(kind, size uint32) []byte {
	var data *byte
	var len uint32
	if proxyGetBuffer(kind, 0, size, unsafe.Pointer(&data), unsafe.Pointer(&len)) != 0 {
		return nil
	}
	return take(data, len)
}

func setBuffer(kind, start, len uint32, data []byte) {
	at, size := slice(data)
	proxySetBuffer(kind, start, len, at, size)
}

func get(kind uint32, name string) string {
	var data *byte
	var len uint32
	at, size := text(name)
	if proxyGetValue(kind, at, size, unsafe.Pointer(&data), unsafe.Pointer(&len)) != 0 {
		return ""
	}
	return string(take(data, len))
}

func set(kind uint32, name, value string) {
	at, size := text(name)
	to, len := text(value)
	if proxyReplaceValue(kind, at, size, to, len) != 0 {
		say("cannot set " + name)
	}
}

func remove(kind uint32, name string) {
	at, size := text(name)
	proxyRemoveValue(kind, at, size)
}

func pairs(kind uint32) []byte {
	var data *byte
	var len uint32
	if proxyGetPairs(kind, unsafe.Pointer(&data), unsafe.Pointer(&len)) != 0 {
		return nil
	}
	return take(data, len)
}

func property(path string) string {
	var data *byte
	var len uint32
	at, size := text(path)
	if proxyGetProperty(at, size, unsafe.Pointer(&data), unsafe.Pointer(&len)) != 0 {
		return ""
	}
	return string(take(data, len))
}

func reply(code uint32, fields [][2]string, body string) {
	at, size := slice(serialize(fields))
	to, len := text(body)
	proxyReply(code, nil, 0, to, len, at, size, -1)
}

func call(upstream string, head [][2]string, body string, timeout uint32) (token, status uint32) {
	up, ups := text(upstream)
	at, size := slice(serialize(head))
	to, len := text(body)
	status = proxyCall(up, ups, at, size, to, len, nil, 0, timeout, unsafe.Pointer(&token))
	return token, status
}

func shared(key string) ([]byte, uint32) {
	var data *byte
	var len, cas uint32
	at, size := text(key)
	if proxyGetShared(at, size, unsafe.Pointer(&data), unsafe.Pointer(&len), unsafe.Pointer(&cas)) != 0 {
		return nil, 0
	}
	return take(data, len), cas
}

func setShared(key string, value []byte, cas uint32) uint32 {
	at, size := text(key)
	to, len := slice(value)
	return proxySetShared(at, size, to, len, cas)
}

// Pairs as the ABI writes them.
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
