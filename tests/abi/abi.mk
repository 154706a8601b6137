# SPDX-License-Identifier: GPL-2.0-or-later
# Builds one variant of the archive tests; called by run.sh with TOP, OUT, GENERATED, ARCHIVE and FLAGS.

SOURCES := $(wildcard $(TOP)/tests/abi/*.c $(TOP)/tests/abi/host/*.c $(TOP)/tests/abi/gluster/*.c \
             $(TOP)/tests/abi/quorum/*.c $(TOP)/tests/abi/rbd/*.c $(TOP)/tests/backends/gfapi/*.c)
# Not compare.c, which is a program.
SOURCES += $(filter-out %/compare.c,$(wildcard $(TOP)/tests/backends/rados/*.c))
SOURCES += $(wildcard $(TOP)/tests/abi/replication/*.c)
OBJECTS := $(patsubst $(TOP)/tests/%.c,$(OUT)/%.o,$(SOURCES))
# The services of the host are this program's own, so they need not be hidden.
CFLAGS := -std=gnu11 -g -Wall -Wextra -Werror -D_GNU_SOURCE -DQBR_HOST_API= $(FLAGS) \
          -I$(TOP)/include -I$(TOP)/adapter -I$(GENERATED) $(shell pkg-config --cflags glusterfs-api)
# What the archive asks for memory with is counted (host/memory.c), so it goes by other names there.
COUNTED := malloc calloc realloc posix_memalign mmap mmap64 munmap

$(OUT)/abi-test: $(OBJECTS) $(GENERATED)/counted.a
	@$(CC) $(FLAGS) -Wl,--wrap=pthread_create -o $@ $^ -lpthread -ldl -lm

$(GENERATED)/counted.a: $(ARCHIVE) $(TOP)/tests/abi/abi.mk
	@objcopy $(foreach name,$(COUNTED),--redefine-sym $(name)=archive_$(name)) $< $@

$(OUT)/%.o: $(TOP)/tests/%.c $(TOP)/tests/abi/abi.mk
	@mkdir -p $(@D)
	@$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(OBJECTS:.o=.d)
