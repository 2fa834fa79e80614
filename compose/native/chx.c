/* Runs a command line of ClickHouse's on its library, libchdb.so: with `SYSTEM START LISTEN …` in the query, and a query
 * that does not end, that is a server. LIBCHDB is the path of the library. See services/clickhouse.sh. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static void *symbol(void *library, const char *name) {
  void *address = dlsym(library, name);
  if (!address) {
    fprintf(stderr, "chx: %s\n", dlerror());
    exit(127);
  }
  return address;
}

int main(int argc, char **argv) {
  const char *path = getenv("LIBCHDB");
  void *library = dlopen(path ? path : "libchdb.so", RTLD_NOW | RTLD_GLOBAL);
  if (!library) {
    fprintf(stderr, "chx: %s\n", dlerror());
    return 127;
  }
  void *(*query)(int, char **) = symbol(library, "chdb_query_cmdline");
  const char *(*error_of)(void *) = symbol(library, "chdb_result_error");
  char *(*buffer_of)(void *) = symbol(library, "chdb_result_buffer");
  size_t (*length_of)(void *) = symbol(library, "chdb_result_length");

  void *result = query(argc, argv);
  if (!result) return 1;
  const char *error = error_of(result);
  if (error) {
    fprintf(stderr, "chx: %s\n", error);
    return 1;
  }
  fwrite(buffer_of(result), 1, length_of(result), stdout);
  return 0;
}
