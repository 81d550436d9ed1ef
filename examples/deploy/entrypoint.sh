#!/bin/sh
# Render and Railway mount a new volume owned by root, so a server that is not root could not write to it. There, the
# container starts as root: give the volume to the server's user, and become that user for good.
set -e
if [ "$(id -u)" = 0 ]; then
  chown 1000:1000 "$DATA_DIR"
  exec setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs "$@"
fi
exec "$@"
