# SPDX-License-Identifier: GPL-2.0-or-later
# The commands of this project. Each is a script in scripts/; all state goes to one folder, build/ (or QBR_BUILD).

top := $(patsubst %/,%,$(dir $(abspath $(lastword $(MAKEFILE_LIST)))))

# Variables given on make's command line or in the environment reach the scripts.
$(foreach v,QEMU BUILTIN SYSTEM QEMU_SOURCE $(filter QBR_%,$(.VARIABLES)),$(if $(value $v),$(eval export $v)))

commands := demo check modules qemu servers servers-stop check-matrix bench deb

.PHONY: help $(commands)

help:
	@echo 'make demo          set up everything, start private servers, show real disk images going through our drivers'
	@echo 'make check         set up and run all tests; the last line is "N passed, N failed" (and ", N skipped")'
	@echo 'make modules       build the drop-in modules for the installed distribution QEMU into build/modules/'
	@echo 'make qemu          build a QEMU with our drivers into build/qemu-VERSION/'
	@echo '                   QEMU=7.2, 10.0 (default) or 10.2; BUILTIN=1: without modules, into build/qemu-VERSION-builtin/;'
	@echo '                   SYSTEM=1: with qemu-system-x86_64; STOCK=1: with the C drivers of QEMU, for comparisons'
	@echo 'make servers       start private servers under build/; use it as: eval "$$(make -s servers)"'
	@echo 'make servers-stop  stop them'
	@echo 'make check-matrix  the tests with QEMU programs for every supported QEMU, as modules, and 10.0 without; as a table'
	@echo 'make bench         compare with the C drivers and the bare library, into build/bench/DRIVER/; BENCH_DRIVER=quorum: that one only'
	@echo 'make deb           Debian packages: not yet'
	@echo 'make help          this table'
	@echo
	@echo 'They run on Debian 12 and 13, as root or with sudo, from any folder (make -C FOLDER), twice in a row, and install'
	@echo 'what they need. What stays is in build/ (or the folder that QBR_BUILD names). Other variables: docs/testing.md.'

$(filter-out deb,$(commands)):
	@'$(top)/scripts/$@.sh'

deb:
	@echo 'make deb comes later: there are no Debian packages yet' >&2; exit 1
