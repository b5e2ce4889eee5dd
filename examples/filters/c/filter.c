// Refuses a path, asks an auth server, adds a field to responses. See ../README.md.

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(name) __attribute__((import_module("env"), import_name(#name))) uint32_t name
#define EXPORT(name) __attribute__((export_name(#name))) name

enum { REQUEST = 0, RESPONSE = 2, CALL = 6 };
enum { CONTINUE = 0, PAUSE = 1, OK = 0 };

IMPORT(proxy_get_header_map_value)(uint32_t map, const char *key, size_t keys, char **value, size_t *values);
IMPORT(proxy_replace_header_map_value)(uint32_t map, const char *key, size_t keys, const char *value, size_t values);
IMPORT(proxy_remove_header_map_value)(uint32_t map, const char *key, size_t keys);
IMPORT(proxy_set_effective_context)(uint32_t id);
IMPORT(proxy_continue_stream)(uint32_t stream);
IMPORT(proxy_send_local_response)(uint32_t status, const char *details, size_t detail, const char *body, size_t bodies,
                                  const char *pairs, size_t pair, uint32_t grpc);
IMPORT(proxy_http_call)(const char *to, size_t tos, const char *pairs, size_t pair, const char *body, size_t bodies,
                        const char *trailers, size_t trailer, uint32_t timeout, uint32_t *token);

// A request that waits for the answer to its call.
struct waiting {
  uint32_t id, token;
  struct waiting *next;
};

static struct waiting *all;

void EXPORT(proxy_abi_version_0_2_1)(void) {}

void *EXPORT(proxy_on_memory_allocate)(size_t size) { return malloc(size); }

static void set(uint32_t map, const char *name, const char *value) {
  proxy_replace_header_map_value(map, name, strlen(name), value, strlen(value));
}

// What the host gives is the guest's to free; here after it was made a string.
static char *get(uint32_t map, const char *name) {
  char *data = NULL;
  size_t size = 0;
  if (proxy_get_header_map_value(map, name, strlen(name), &data, &size) != OK) return calloc(1, 1);
  char *text = malloc(size + 1);
  memcpy(text, data, size);
  text[size] = 0;
  free(data);
  return text;
}

static uint32_t answer(uint32_t status, const char *body) {
  char none[4] = {0};
  proxy_send_local_response(status, "", 0, body, strlen(body), none, sizeof none, (uint32_t)-1);
  return PAUSE;
}

// Pairs as the ABI writes them: how many, the sizes of all, then names and values, each with a zero after it.
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

static uint32_t ask(uint32_t id) {
  char *token = get(REQUEST, "authorization"), none[4] = {0};
  const char *fields[] = {":method", "GET", ":path", "/check", ":authority", "auth", "authorization", token};
  size_t size;
  char *data = pairs(fields, 4, &size);
  struct waiting *one = calloc(1, sizeof *one);
  uint32_t status = proxy_http_call("auth", 4, data, size, "", 0, none, sizeof none, 1000, &one->token);
  free(data);
  free(token);
  if (status != OK) {
    free(one);
    return answer(401, "who are you?");
  }
  one->id = id;
  one->next = all;
  all = one;
  return PAUSE;
}

uint32_t EXPORT(proxy_on_request_headers)(uint32_t id, uint32_t fields, uint32_t end) {
  char *path = get(REQUEST, ":path");
  int is_private = !strcmp(path, "/private");
  free(path);
  return is_private ? answer(403, "private") : ask(id);
}

void EXPORT(proxy_on_http_call_response)(uint32_t root, uint32_t token, uint32_t fields, uint32_t size,
                                         uint32_t trailers) {
  struct waiting *one = all;
  while (one && one->token != token) one = one->next;
  if (!one) return;
  char *status = get(CALL, ":status"), *user = get(CALL, "x-user");
  proxy_set_effective_context(one->id);
  if (strcmp(status, "200")) {
    answer(401, "who are you?");
  } else {
    proxy_remove_header_map_value(REQUEST, "x-user", 6);
    if (*user) set(REQUEST, "x-user", user);
    proxy_continue_stream(0);
  }
  free(status);
  free(user);
}

uint32_t EXPORT(proxy_on_response_headers)(uint32_t id, uint32_t fields, uint32_t end) {
  set(RESPONSE, "x-filter", "c");
  return CONTINUE;
}

void EXPORT(proxy_on_delete)(uint32_t id) {
  for (struct waiting **at = &all; *at; at = &(*at)->next) {
    if ((*at)->id != id) continue;
    struct waiting *gone = *at;
    *at = gone->next;
    free(gone);
    return;
  }
}
