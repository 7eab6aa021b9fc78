/*
 * The C library's allocator, told to keep a little of what is freed.
 *
 * sled takes a buffer of half a megabyte for each segment of its log and frees it soon after. Each
 * thread's heap gives its end back to the system as soon as a megabyte of it is free, so that every
 * such buffer came as pages to be cleared and faulted in anew: a sixth of the time of a server that
 * appends as fast as it can. With these limits it takes them from what it has.
 *
 * Linked into the program alone, not into the library: whoever embeds that has an allocator of his own.
 */
#include <malloc.h>

/* Larger ones come from the system and go back to it. */
enum { ONE_PIECE_MAX = 1024 * 1024 };
/* So much may stay free at the end of a heap. */
enum { KEPT_FREE_MAX = 4 * 1024 * 1024 };

__attribute__((constructor)) static void keep_a_little(void) {
  mallopt(M_MMAP_THRESHOLD, ONE_PIECE_MAX);
  mallopt(M_TRIM_THRESHOLD, KEPT_FREE_MAX);
}
