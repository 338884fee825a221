# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# A Debian root made by debootstrap from the mirror that this machine's apt uses, with what scripts/setup-debian
# installs. To be sourced in the checkout, in a mount namespace of one's own; needs say() and die().

# in_base ROOT COMMAND…: not by chroot(2), in which the kernel allows no user namespace.
in_base() {
	# shellcheck disable=SC2016 # expanded inside
	LC_ALL=C.UTF-8 HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
		unshare --mount --propagation private -- \
		sh -c 'cd "$1" && shift && pivot_root . . && umount -l . && cd / && exec "$@"' in_base "$@"
}

mount_inside() {
	mount --bind "$1" "$1"
	mount -t proc proc "$1/proc"
	mount -t tmpfs tmpfs "$1/run"
	mount -t tmpfs tmpfs "$1/tmp"
	mount --rbind /dev "$1/dev"
	mkdir -p "$1/niwa"
}
umount_inside() { umount -R "$1"; }

# make_base SUITE ROOT: kept between runs; what scripts/setup-debian wants by now is added.
make_base() {
	local suite=$1 base=$2 line uri security
	line=$(tests/vm/mirror) || die "no Debian mirror in this machine's apt configuration; set NIWA_DEBIAN_MIRROR"
	read -r uri security <<<"$line"
	if [ ! -e "$base/.debootstrapped" ]; then
		say "making the base root in $base"
		rm -rf "$base"
		mkdir -p "$base"
		debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,udev,ca-certificates,kmod,initramfs-tools \
			"$suite" "$base" "$uri"
		touch "$base/.debootstrapped"
	fi
	{
		echo "deb $uri $suite main"
		echo "deb $uri $suite-updates main"
		echo "deb $security $suite-security main"
	} >"$base/etc/apt/sources.list"
	apt-config dump | grep -E '^Acquire::(http|https)::Proxy' >"$base/etc/apt/apt.conf.d/50proxy" || true
	cp /etc/resolv.conf "$base/etc/resolv.conf"
	mount_inside "$base"
	mount --bind -o ro "$PWD" "$base/niwa"
	in_base "$base" /niwa/scripts/setup-debian build run test
	umount "$base/niwa"
	umount_inside "$base"
}

# add_kernels ROOT: both of Debian 12's own series.
add_kernels() {
	local base=$1
	[ ! -e "$base/.kernels" ] || return 0
	mount_inside "$base"
	in_base "$base" apt-get update -qq
	in_base "$base" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
		linux-image-cloud-amd64 linux-image-6.12-cloud-amd64 </dev/null
	touch "$base/.kernels"
	umount_inside "$base"
}

# add_criu ROOT: what scripts/build-criu makes of Debian's newest source; again when that script or its patch change.
add_criu() {
	local base=$1 made_by
	made_by=$(cat scripts/build-criu scripts/criu-*.patch | sha256sum)
	[ "$(cat "$base/.criu" 2>/dev/null)" != "$made_by" ] || return 0
	say "building CRIU in the base root"
	mount_inside "$base"
	mount --bind -o ro "$PWD" "$base/niwa"
	in_base "$base" /niwa/scripts/build-criu --force || die "no CRIU in the base root, which the tests need"
	umount "$base/niwa"
	umount_inside "$base"
	echo "$made_by" >"$base/.criu"
}
