/*
 * What jemalloc reads when the program starts; Rust could only say it with unsafe code.
 *
 * narenas:1            what one thread frees is there for all. With its usual four for each core a flood
 *                      of lines took up to half as much memory again, and was no faster (measured on two cores).
 * dirty_decay_ms:1000  free memory goes back to the system after a second instead of ten.
 */
const char *_rjem_malloc_conf = "narenas:1,dirty_decay_ms:1000";
