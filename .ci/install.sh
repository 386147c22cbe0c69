# SPDX-FileCopyrightText: 2026 The Gatehouse Authors
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash

# Sourced by need-*: installs a command with the system's package manager.

# as_root runs a command as root: directly, or by sudo where sudo asks for no password.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		sudo -n "$@"
	else
		return 1
	fi
}

# install_package MANAGER PACKAGE installs one package and asks nothing.
install_package() {
	case "$1" in
	apt-get) as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2" ;;
	dnf) as_root dnf install -y "$2" ;;
	apk) as_root apk add --no-cache "$2" ;;
	pacman) as_root pacman -Sy --noconfirm --needed "$2" ;;
	brew) brew install "$2" ;;
	esac
}

# need COMMAND MANAGER=PACKAGE... makes sure that COMMAND can be run. A manager may be named more than once: the next
# package is tried when the one before did not bring the command.
need() {
	local command=$1 pair
	shift
	if command -v "$command" >/dev/null; then
		return 0
	fi
	for pair in "$@"; do
		if ! command -v "${pair%%=*}" >/dev/null; then
			continue
		fi
		echo "$command is missing: installing ${pair#*=} with ${pair%%=*}" >&2
		install_package "${pair%%=*}" "${pair#*=}" >&2 || true
		hash -r
		if command -v "$command" >/dev/null; then
			return 0
		fi
	done
	{
		echo "error: $command is not on PATH and could not be installed. Install one of these and try again:"
		for pair in "$@"; do
			echo "  ${pair#*=} (with ${pair%%=*})"
		done
	} >&2
	return 1
}
