/*
 * Options of mimalloc, set before the first allocation. In Rust this would need unsafe code, and the environment
 * variables of the same names would be inherited by the commands that `tasktail run` starts.
 */
#include <mimalloc.h>

__attribute__((constructor)) static void set_options(void) {
    /* Return free pages to the system at once: a flood of lines took four times the memory otherwise. */
    mi_option_set(mi_option_purge_delay, 0);
    /* Commit memory as it is used, not for a whole arena. */
    mi_option_set(mi_option_arena_eager_commit, 0);
}
