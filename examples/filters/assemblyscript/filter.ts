// Refuses a path, asks an auth server, adds a field to responses. See ../README.md.

export * from "@solo-io/proxy-runtime/proxy";
import {
  Context,
  FilterHeadersStatusValues,
  HeaderPair,
  Headers,
  RootContext,
  WasmResultValues,
  registerRootContext,
  send_local_response,
  stream_context,
} from "@solo-io/proxy-runtime";
import { GrpcStatusValues } from "@solo-io/proxy-runtime/runtime";

class Root extends RootContext {
  // The runtime cannot read a configuration of no bytes.
  onConfigure(size: u32): bool {
    return size == 0 || super.onConfigure(size);
  }

  createContext(id: u32): Context {
    return new Request(id, this);
  }
}

function bytes(text: string): ArrayBuffer {
  return String.UTF8.encode(text);
}

function pair(name: string, value: string): HeaderPair {
  return new HeaderPair(bytes(name), bytes(value));
}

function answer(status: u32, text: string): void {
  send_local_response(status, "", bytes(text), [], GrpcStatusValues.InvalidCode);
}

class Request extends Context {
  constructor(id: u32, root: RootContext) {
    super(id, root);
  }

  onRequestHeaders(fields: u32, end: bool): FilterHeadersStatusValues {
    let headers = stream_context.headers.request;
    if (headers.get(":path") == "/private") {
      answer(403, "private");
      return FilterHeadersStatusValues.StopIteration;
    }
    let head: Headers = [
      pair(":method", "GET"),
      pair(":path", "/check"),
      pair(":authority", "auth"),
      pair("authorization", headers.get("authorization")),
    ];
    let result = this.root_context.httpCall("auth", head, new ArrayBuffer(0), [], 1000, this, (origin, fields, size, trailers) => {
      let reply = stream_context.headers.http_callback;
      if (fields == 0 || reply.get(":status") != "200") {
        answer(401, "who are you?");
        return;
      }
      let user = reply.get("x-user"), request = stream_context.headers.request;
      if (user.length > 0) request.replace("x-user", user);
      else request.remove("x-user");
      origin.continueRequest();
    });
    if (result != WasmResultValues.Ok) answer(401, "who are you?");
    return FilterHeadersStatusValues.StopIteration;
  }

  onResponseHeaders(fields: u32, end: bool): FilterHeadersStatusValues {
    stream_context.headers.response.replace("x-filter", "assemblyscript");
    return FilterHeadersStatusValues.Continue;
  }
}

registerRootContext((id: u32) => new Root(id), "guard");
