#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Dovecot IMAP without root: all its processes run as the app's user `mail`, which is the owner of the maildirs on
# the host (OWNER= another). User ada, password niwa, two mails in her INBOX.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/dovecot
owner=${OWNER:-mail}
mkdir -p "$dir/etc"

version=$(dovecot --version)
# 2.4 has another configuration language.
case $version in
2.[0-3].*)
	many_logins="service_count = 0"
	cat >"$dir/etc/dovecot.conf" <<'END'
base_dir = /tmp/dovecot/
state_dir = /tmp/dovecot-state
protocols = imap
listen = *
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:/srv/mail/%n
passdb {
  driver = passwd-file
  args = username_format=%n /etc/dovecot-niwa/users
}
userdb {
  driver = static
  args = uid=mail gid=mail home=/srv/mail/%n
}
END
	;;
*)
	many_logins="restart_request_count = unlimited"
	cat >"$dir/etc/dovecot.conf" <<'END'
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
base_dir = /tmp/dovecot/
state_dir = /tmp/dovecot-state
protocols = imap
listen = *
ssl = no
auth_allow_cleartext = yes
auth_mechanisms = plain login
mail_driver = maildir
mail_path = /srv/mail/%{user | username}
passdb passwd-file {
  passwd_file_path = /etc/dovecot-niwa/users
}
userdb static {
  fields {
    uid = mail
    gid = mail
    home = /srv/mail/%{user | username}
  }
}
END
	;;
esac
cat >>"$dir/etc/dovecot.conf" <<END
log_path = /dev/stderr
default_internal_user = mail
default_internal_group = mail
default_login_user = mail
first_valid_uid = 1
first_valid_gid = 1
mail_uid = mail
mail_gid = mail
service imap-login {
  chroot =
  $many_logins
  client_limit = 1000
  process_limit = 4
  inet_listener imap {
    port = 143
  }
  inet_listener imaps {
    port = 0
  }
}
service imap {
  process_limit = 400
}
protocol imap {
  mail_max_userip_connections = 400
}
service anvil {
  chroot =
  client_limit = 2000
}
service auth {
  client_limit = 3000
}
END
printf 'ada:{PLAIN}niwa\nalan:{PLAIN}niwa\n' >"$dir/etc/users"
chmod -R u=rwX,go=rX "$dir/etc"

inbox=$dir/mail/ada
group=$(id -gn "$owner")
if [ ! -d "$inbox/cur" ]; then
	install -d -m 700 -o "$owner" -g "$group" "$dir/mail" "$inbox" "$inbox/cur" "$inbox/new" "$inbox/tmp"
	for n in 1 2; do
		mail=$inbox/new/170000000$n.M${n}P1.niwa
		printf 'From: garden@example.com\nTo: ada@example.com\nSubject: mail %d\nMessage-ID: <%d@example.com>\n\nText %d.\n' \
			$n $n $n >"$mail"
		chown "$owner:$group" "$mail"
		chmod 600 "$mail"
	done
fi
