/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * A libgfapi without a network: images live in memory, and tests decide what goes wrong and when.
 *
 * It implements exactly what the archive imports. Unless told otherwise everything succeeds at once, and asynchronous calls call
 * back on a thread of the library. What no client may do to the library (use a closed file, end a client whose files are
 * open, ...) is counted as a violation and not forgiven at the end of a test.
 */
#ifndef QBR_FAKE_GFAPI_H
#define QBR_FAKE_GFAPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything that can be called. */
enum fake_call {
    FAKE_NEW,
    FAKE_SET_SERVER,
    FAKE_SET_LOGGING,
    FAKE_SET_XLATOR,
    FAKE_INIT,
    FAKE_FINI,
    FAKE_OPEN,
    FAKE_DUP,
    FAKE_CREAT,
    FAKE_CLOSE,
    FAKE_UNLINK,
    FAKE_LSEEK,
    /* Not a call: the moment between the server's answer to a search and glfs_lseek's own. */
    FAKE_LSEEK_ANSWER,
    FAKE_FSTAT,
    FAKE_PREAD,
    FAKE_FTRUNCATE,
    FAKE_FALLOCATE,
    FAKE_ZEROFILL,
    /* From here on asynchronous. */
    FAKE_PREADV,
    FAKE_PWRITEV,
    FAKE_FSYNC,
    FAKE_DISCARD,
    FAKE_ZEROFILL_ASYNC,
    FAKE_CALLS
};

#define FAKE_FOR_EVER (-1)

/* --- Failing calls: for asynchronous ones, failing to submit ------------------------------------------------------------- */

/* The call fails from now on with @error in errno; 0 is a failure without a reason. */
void fake_fail(enum fake_call call, int error);
/* The call succeeds @skip times, then fails @times times. */
void fake_fail_some(enum fake_call call, int skip, int times, int error);
/* The call succeeds again. */
void fake_pass(enum fake_call call);
/* A failed submission calls back all the same. */
void fake_call_back_after_failed_submission(bool on);

/* --- Waiting -------------------------------------------------------------------------------------------------------------- */

/* Calls of this kind wait at their beginning until the gate is open. */
void fake_close_gate(enum fake_call call);
void fake_open_gate(enum fake_call call);
/* How often the call was made, and how often it ended. */
unsigned fake_count(enum fake_call call);
/* Waits until the call was made @count times. */
void fake_wait_for(enum fake_call call, unsigned count);
/* Waits until no client is left. */
void fake_wait_for_no_volume(void);

/* --- Outcome of asynchronous calls ---------------------------------------------------------------------------------------- */

enum fake_mode {
    /* On a thread of the library. */
    FAKE_ON_THREAD,
    /* Before the submit call returns. */
    FAKE_IN_SUBMIT,
    /* When the test says so. */
    FAKE_WHEN_RELEASED
};
void fake_mode(enum fake_mode mode);
/* The next operation of this kind ends with an error; 0 is a failure without a reason. */
void fake_next_error(enum fake_call call, int error);
/* The next operation moves at most @bytes bytes. */
void fake_next_most(enum fake_call call, size_t bytes);
/* No operation moves more than @bytes bytes. */
void fake_most(size_t bytes);
/* Every operation calls back twice. */
void fake_call_back_twice(bool on);
/* Calls back once more with the operation that ended last. */
void fake_call_back_again(void);

/* Waits until @count operations wait for their release; their number. */
unsigned fake_wait_for_held(unsigned count);
/* Ends the operation that was submitted as the @index-th of those that wait, on the calling thread. False if there is none. */
bool fake_release(unsigned index);
void fake_release_all(void);

/* --- Images --------------------------------------------------------------------------------------------------------------- */

#define FAKE_PIECE 4096

/* Makes an image of @length bytes, all hole. */
void fake_image(const char *path, int64_t length);
/* Fills @bytes bytes with data that depends on the position (fake_byte). */
void fake_image_fill(const char *path, int64_t offset, int64_t bytes);
unsigned char fake_byte(int64_t offset);
/* An image's bytes; NULL if there is no such image. */
const unsigned char *fake_image_bytes(const char *path, int64_t *length);
bool fake_image_exists(const char *path);
/* Opening for writing fails with @error; 0 allows it. */
void fake_image_read_only(int error);
/* From now on writes are acknowledged and held back: searches don't find them until the next fsync. */
void fake_write_behind(bool on);
/* Sector size of the bricks: requests past their cache must be multiples of it. */
void fake_sector(unsigned bytes);

enum fake_seek {
    /* Finds data and holes. */
    FAKE_SEEK_FINDS,
    /* Doesn't know SEEK_DATA. */
    FAKE_SEEK_UNKNOWN,
    /* Takes all for data, the end too. */
    FAKE_SEEK_ALL_DATA,
    /* Answers with an offset before the one asked for. */
    FAKE_SEEK_BEFORE,
    /* Finds data and hole in one place. */
    FAKE_SEEK_SAME,
};
void fake_seek(enum fake_seek behaviour);

/* --- Clients -------------------------------------------------------------------------------------------------------------- */

/* How the thread was scheduled that has ended the last client. */
int fake_fini_policy(void);
/* Live clients: those made and not ended. */
unsigned fake_volumes(void);
/* Open files; one is open as long as one of its descriptors is. */
unsigned fake_open_files(void);
/* Waits until no file is open. */
void fake_wait_for_no_file(void);
/* What the @index-th client was told before its start, a line per call; "" if there was none. */
const char *fake_volume_log(unsigned index);
/* The connection of all clients so far is lost. */
void fake_break_volumes(void);
/* What nobody may do; NULL if nobody did. */
const char *fake_violation(void);

#endif
