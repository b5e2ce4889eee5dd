// The guest's work (see ../README.md) in AssemblyScript on @solo-io/proxy-runtime: ABI 0.2.0.

export * from "@solo-io/proxy-runtime/proxy";
import {
  BaseContext,
  Context,
  FilterDataStatusValues,
  FilterHeadersStatusValues,
  HeaderPair,
  Headers,
  LogLevelValues,
  RootContext,
  WasmResultValues,
  log,
  registerRootContext,
  send_local_response,
  stream_context,
} from "@solo-io/proxy-runtime";
import {
  get_buffer_bytes,
  get_property,
  set_tick_period_milliseconds,
  BufferTypeValues,
  GrpcStatusValues,
} from "@solo-io/proxy-runtime/runtime";
import { free } from "@solo-io/proxy-runtime/malloc";

// What the runtime has no, or no right, declaration for.
// @ts-ignore: decorator
@external("env", "proxy_set_buffer_bytes")
declare function proxy_set_buffer_bytes(type: u32, start: u32, len: u32, data: usize, size: u32): u32;
// @ts-ignore: decorator
@external("env", "proxy_get_shared_data")
declare function proxy_get_shared_data(key: usize, keys: u32, value: usize, values: usize, cas: usize): u32;
// @ts-ignore: decorator
@external("env", "proxy_set_shared_data")
declare function proxy_set_shared_data(key: usize, keys: u32, value: usize, values: u32, cas: u32): u32;

class Out {
  pointer: usize = 0;
  size: u32 = 0;
  cas: u32 = 0;
}

let waiting = new Array<Request>();

class Root extends RootContext {
  onConfigure(size: u32): bool {
    super.onConfigure(size);
    set_tick_period_milliseconds(10);
    log(LogLevelValues.info, "configured with " + size.toString() + " bytes");
    return this.getConfiguration() != "refuse";
  }

  onTick(): void {
    let ready = waiting;
    waiting = new Array<Request>();
    for (let i = 0; i < ready.length; i++) {
      ready[i].setEffectiveContext();
      stream_context.headers.request.replace("x-woken", "tick");
      ready[i].continueRequest();
    }
  }

  createContext(id: u32): Context {
    return new Request(id, this);
  }
}

function text(bytes: ArrayBuffer): string {
  return String.UTF8.decode(bytes);
}

function bytes(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(bytes(name), bytes(value));
}

function write(type: BufferTypeValues, start: u32, len: u32, value: string): void {
  let data = bytes(value);
  proxy_set_buffer_bytes(type, start, len, changetype<usize>(data), data.byteLength);
}

class Request extends Context {
  path: string = "";

  constructor(id: u32, root: RootContext) {
    super(id, root);
  }

  onRequestHeaders(fields: u32, end: bool): FilterHeadersStatusValues {
    let headers = stream_context.headers.request;
    this.path = headers.get(":path");
    headers.replace("x-guest", this.root_context.getConfiguration());
    headers.remove("x-unwanted");
    if (this.path == "/reply") {
      let fields: Headers = [pair("x-by", "guest")];
      send_local_response(403, "", bytes("denied by the guest"), fields, GrpcStatusValues.InvalidCode);
      return FilterHeadersStatusValues.StopIteration;
    }
    if (this.path == "/call") {
      let head: Headers = [pair(":method", "POST"), pair(":path", "/auth"), pair(":authority", "auth.test")];
      let result = this.root_context.httpCall("auth", head, bytes("token"), [], 5000, this, (origin, fields, size, trailers) => {
        log(LogLevelValues.info, fields > 0 ? "answer with some fields" : "answer with no fields");
        let status = stream_context.headers.http_callback.get(":status");
        let body = text(get_buffer_bytes(BufferTypeValues.HttpCallResponseBody, 0, size as u32));
        stream_context.headers.request.replace("x-auth", status + " " + body);
        origin.continueRequest();
      });
      if (result != WasmResultValues.Ok) log(LogLevelValues.error, "the call was refused");
      return FilterHeadersStatusValues.StopIteration;
    }
    if (this.path == "/tick") {
      waiting.push(this);
      return FilterHeadersStatusValues.StopIteration;
    }
    if (this.path == "/shared") headers.replace("x-hits", this.count().toString());
    if (this.path == "/pairs") headers.replace("x-names", this.names());
    if (this.path == "/property") {
      let method = text(get_property("request\0method"));
      headers.replace("x-property", method + " " + text(get_property("request\0path")));
    }
    if (this.path == "/append" || this.path == "/replace") headers.remove("content-length");
    return FilterHeadersStatusValues.Continue;
  }

  count(): u32 {
    let key = bytes("hits");
    let out = new Out();
    let at = changetype<usize>(out);
    let hits: u32 = 0;
    if (proxy_get_shared_data(changetype<usize>(key), 4, at, at + 4, at + 8) == 0 && out.size == 4) {
      hits = load<u32>(out.pointer);
      free(out.pointer);
    }
    let value = new ArrayBuffer(4);
    store<u32>(changetype<usize>(value), ++hits);
    proxy_set_shared_data(changetype<usize>(key), 4, changetype<usize>(value), 4, out.cas);
    return hits;
  }

  names(): string {
    let list = new Array<string>();
    let all = stream_context.headers.request.get_headers();
    for (let i = 0; i < all.length; i++) list.push(text(all[i].key));
    return list.join(" ");
  }

  onRequestBody(size: usize, end: bool): FilterDataStatusValues {
    if (this.path == "/append" && end) write(BufferTypeValues.HttpRequestBody, size as u32, 0, " and the guest");
    if (this.path == "/replace") {
      if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
      let body = text(get_buffer_bytes(BufferTypeValues.HttpRequestBody, 0, size as u32));
      write(BufferTypeValues.HttpRequestBody, 0, size as u32, body.toUpperCase());
    }
    return FilterDataStatusValues.Continue;
  }

  onResponseHeaders(fields: u32, end: bool): FilterHeadersStatusValues {
    stream_context.headers.response.replace("x-answer", this.root_context.getConfiguration());
    if (this.path == "/answer") stream_context.headers.response.remove("content-length");
    return FilterHeadersStatusValues.Continue;
  }

  onResponseBody(size: usize, end: bool): FilterDataStatusValues {
    if (this.path != "/answer") return FilterDataStatusValues.Continue;
    if (!end) return FilterDataStatusValues.StopIterationAndBuffer;
    write(BufferTypeValues.HttpResponseBody, 0, size as u32, "the guest's answer");
    return FilterDataStatusValues.Continue;
  }

  onLog(): void {
    log(LogLevelValues.info, "served " + this.path);
  }
}

registerRootContext((id: u32) => new Root(id), "guest");
