// The guest's work (see ../README.md) in C, without an SDK: a WASI reactor, ABI 0.2.1.

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("env"), import_name(#name))) uint32_t name
#define EXPORT(name) __attribute__((export_name(#name))) name

enum { REQUEST = 0, RESPONSE = 2, CALL = 6 };
enum { REQUEST_BODY = 0, RESPONSE_BODY = 1, CALL_BODY = 4, PLUGIN_CONFIG = 7 };
enum { INFO = 2, CONTINUE = 0, PAUSE = 1, OK = 0 };

IMPORT(proxy_log)(uint32_t level, const char *text, size_t size);
IMPORT(proxy_get_buffer_bytes)(uint32_t type, uint32_t start, uint32_t max, char **data, size_t *size);
IMPORT(proxy_set_buffer_bytes)(uint32_t type, uint32_t start, uint32_t len, const char *data, size_t size);
IMPORT(proxy_get_header_map_value)(uint32_t map, const char *key, size_t keys, char **value, size_t *values);
IMPORT(proxy_replace_header_map_value)(uint32_t map, const char *key, size_t keys, const char *value, size_t values);
IMPORT(proxy_remove_header_map_value)(uint32_t map, const char *key, size_t keys);
IMPORT(proxy_get_header_map_pairs)(uint32_t map, char **data, size_t *size);
IMPORT(proxy_get_property)(const char *path, size_t paths, char **value, size_t *values);
IMPORT(proxy_set_tick_period_milliseconds)(uint32_t period);
IMPORT(proxy_set_effective_context)(uint32_t id);
IMPORT(proxy_continue_stream)(uint32_t stream);
IMPORT(proxy_send_local_response)(uint32_t status, const char *details, size_t detail, const char *body, size_t bodies,
                                  const char *pairs, size_t pair, uint32_t grpc);
IMPORT(proxy_http_call)(const char *to, size_t tos, const char *pairs, size_t pair, const char *body, size_t bodies,
                        const char *trailers, size_t trailer, uint32_t timeout, uint32_t *token);
IMPORT(proxy_get_shared_data)(const char *key, size_t keys, char **value, size_t *values, uint32_t *cas);
IMPORT(proxy_set_shared_data)(const char *key, size_t keys, const char *value, size_t values, uint32_t cas);

// One for each request; few at a time, so a list.
struct request {
  uint32_t id, token;
  int waits;
  char path[256];
  struct request *next;
};

static struct request *requests;
static char config[256];

void EXPORT(proxy_abi_version_0_2_1)(void) {}

void *EXPORT(proxy_on_memory_allocate)(size_t size) { return malloc(size); }

static void say(const char *text) { proxy_log(INFO, text, strlen(text)); }

static void set(uint32_t map, const char *name, const char *value) {
  if (proxy_replace_header_map_value(map, name, strlen(name), value, strlen(value)) != OK) say("cannot set a field");
}

static void forget(uint32_t map, const char *name) { proxy_remove_header_map_value(map, name, strlen(name)); }

// Copies what the host gave, which is the guest's to free.
static void take(char *into, size_t room, char *data, size_t size) {
  size_t len = size < room - 1 ? size : room - 1;
  memcpy(into, data, len);
  into[len] = 0;
  free(data);
}

static void get(uint32_t map, const char *name, char *into, size_t room) {
  char *data = NULL;
  size_t size = 0;
  into[0] = 0;
  if (proxy_get_header_map_value(map, name, strlen(name), &data, &size) == OK) take(into, room, data, size);
}

static void property(const char *path, size_t paths, char *into, size_t room) {
  char *data = NULL;
  size_t size = 0;
  into[0] = 0;
  if (proxy_get_property(path, paths, &data, &size) == OK) take(into, room, data, size);
}

static struct request *find(uint32_t id) {
  for (struct request *r = requests; r; r = r->next)
    if (r->id == id) return r;
  return NULL;
}

// Pairs as the ABI writes them; the caller frees them.
static char *pairs(const char *const *texts, uint32_t count, size_t *size) {
  *size = 4 + 8 * count;
  for (uint32_t i = 0; i < 2 * count; i++) *size += strlen(texts[i]) + 1;
  char *data = malloc(*size), *at = data + 4 + 8 * count;
  memcpy(data, &count, 4);
  for (uint32_t i = 0; i < 2 * count; i++) {
    uint32_t len = strlen(texts[i]);
    memcpy(data + 4 + 4 * i, &len, 4);
    memcpy(at, texts[i], len + 1);
    at += len + 1;
  }
  return data;
}

void EXPORT(proxy_on_context_create)(uint32_t id, uint32_t parent) {
  if (!parent) return;
  struct request *r = calloc(1, sizeof *r);
  r->id = id;
  r->next = requests;
  requests = r;
}

uint32_t EXPORT(proxy_on_configure)(uint32_t root, uint32_t size) {
  char *data = NULL;
  size_t len = 0;
  if (size && proxy_get_buffer_bytes(PLUGIN_CONFIG, 0, size, &data, &len) == OK) take(config, sizeof config, data, len);
  proxy_set_tick_period_milliseconds(10);
  // Standard output becomes log lines too.
  printf("configured with %u bytes\n", size);
  fflush(stdout);
  return strcmp(config, "refuse") != 0;
}

void EXPORT(proxy_on_tick)(uint32_t root) {
  for (struct request *r = requests; r; r = r->next) {
    if (!r->waits) continue;
    r->waits = 0;
    proxy_set_effective_context(r->id);
    set(REQUEST, "x-woken", "tick");
    proxy_continue_stream(0);
  }
}

static uint32_t reply(void) {
  const char *fields[] = {"x-by", "guest"}, *body = "denied by the guest";
  size_t size;
  char *data = pairs(fields, 1, &size);
  proxy_send_local_response(403, "", 0, body, strlen(body), data, size, (uint32_t)-1);
  free(data);
  return PAUSE;
}

static uint32_t call(struct request *r) {
  const char *fields[] = {":method", "POST", ":path", "/auth", ":authority", "auth.test"};
  size_t size;
  char *data = pairs(fields, 3, &size), none[4] = {0};
  uint32_t status = proxy_http_call("auth", 4, data, size, "token", 5, none, 4, 5000, &r->token);
  free(data);
  if (status != OK) say("the call was refused");
  return PAUSE;
}

static void count(void) {
  char *data = NULL, text[16];
  size_t size = 0;
  uint32_t cas = 0, hits = 0;
  if (proxy_get_shared_data("hits", 4, &data, &size, &cas) == OK && size == 4) memcpy(&hits, data, 4);
  free(data);
  hits++;
  if (proxy_set_shared_data("hits", 4, (char *)&hits, 4, cas) != OK) say("somebody was faster");
  snprintf(text, sizeof text, "%u", hits);
  set(REQUEST, "x-hits", text);
}

static void names(void) {
  char *data = NULL, text[1024] = "";
  size_t size = 0;
  uint32_t count = 0;
  if (proxy_get_header_map_pairs(REQUEST, &data, &size) != OK || size < 4) return;
  memcpy(&count, data, 4);
  char *at = data + 4 + 8 * count;
  for (uint32_t i = 0; i < count; i++) {
    if (i) strncat(text, " ", sizeof text - strlen(text) - 1);
    strncat(text, at, sizeof text - strlen(text) - 1);
    at += strlen(at) + 1;
    at += strlen(at) + 1;
  }
  free(data);
  set(REQUEST, "x-names", text);
}

uint32_t EXPORT(proxy_on_request_headers)(uint32_t id, uint32_t fields, uint32_t end) {
  struct request *r = find(id);
  get(REQUEST, ":path", r->path, sizeof r->path);
  set(REQUEST, "x-guest", config);
  forget(REQUEST, "x-unwanted");
  if (!strcmp(r->path, "/reply")) return reply();
  if (!strcmp(r->path, "/call")) return call(r);
  if (!strcmp(r->path, "/tick")) {
    r->waits = 1;
    return PAUSE;
  }
  if (!strcmp(r->path, "/shared")) count();
  if (!strcmp(r->path, "/pairs")) names();
  if (!strcmp(r->path, "/property")) {
    char method[32], path[256], text[300];
    property("request\0method", 14, method, sizeof method);
    property("request\0path", 12, path, sizeof path);
    snprintf(text, sizeof text, "%s %s", method, path);
    set(REQUEST, "x-property", text);
  }
  if (!strcmp(r->path, "/append") || !strcmp(r->path, "/replace")) forget(REQUEST, "content-length");
  return CONTINUE;
}

uint32_t EXPORT(proxy_on_request_body)(uint32_t id, uint32_t size, uint32_t end) {
  struct request *r = find(id);
  const char *more = " and the guest";
  if (!strcmp(r->path, "/append") && end) proxy_set_buffer_bytes(REQUEST_BODY, size, 0, more, strlen(more));
  if (strcmp(r->path, "/replace")) return CONTINUE;
  if (!end) return PAUSE;
  char *data = NULL;
  size_t len = 0;
  proxy_get_buffer_bytes(REQUEST_BODY, 0, size, &data, &len);
  for (size_t i = 0; i < len; i++)
    if (data[i] >= 'a' && data[i] <= 'z') data[i] -= 32;
  proxy_set_buffer_bytes(REQUEST_BODY, 0, size, data, len);
  free(data);
  return CONTINUE;
}

void EXPORT(proxy_on_http_call_response)(uint32_t root, uint32_t token, uint32_t fields, uint32_t size,
                                         uint32_t trailers) {
  char status[16], body[256] = "", text[300], *data = NULL;
  size_t len = 0;
  say(fields ? "answer with some fields" : "answer with no fields");
  get(CALL, ":status", status, sizeof status);
  if (proxy_get_buffer_bytes(CALL_BODY, 0, size, &data, &len) == OK && len) take(body, sizeof body, data, len);
  snprintf(text, sizeof text, "%s %s", status, body);
  for (struct request *r = requests; r; r = r->next) {
    if (r->token != token) continue;
    r->token = 0;
    proxy_set_effective_context(r->id);
    set(REQUEST, "x-auth", text);
    proxy_continue_stream(0);
  }
}

uint32_t EXPORT(proxy_on_response_headers)(uint32_t id, uint32_t fields, uint32_t end) {
  set(RESPONSE, "x-answer", config);
  if (!strcmp(find(id)->path, "/answer")) forget(RESPONSE, "content-length");
  return CONTINUE;
}

uint32_t EXPORT(proxy_on_response_body)(uint32_t id, uint32_t size, uint32_t end) {
  const char *body = "the guest's answer";
  if (strcmp(find(id)->path, "/answer")) return CONTINUE;
  if (!end) return PAUSE;
  proxy_set_buffer_bytes(RESPONSE_BODY, 0, size, body, strlen(body));
  return CONTINUE;
}

void EXPORT(proxy_on_log)(uint32_t id) {
  char text[300];
  snprintf(text, sizeof text, "served %s", find(id)->path);
  say(text);
}

void EXPORT(proxy_on_delete)(uint32_t id) {
  for (struct request **r = &requests; *r; r = &(*r)->next) {
    if ((*r)->id != id) continue;
    struct request *gone = *r;
    *r = gone->next;
    free(gone);
    return;
  }
}
