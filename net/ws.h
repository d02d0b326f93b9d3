/* A WebSocket as a transport: frames around another transport, TCP or TLS, whose opening handshake
 * is over.  So MQTT over WebSockets is read and written by the shard that its session lives on, as
 * over any other transport: no thread and no system call between.
 *
 * What is written must be whole packets of MQTT, one after the other; each becomes a frame.
 *
 * What a peer breaks of RFC 6455, or a text frame [MQTT-6.0.0-1], makes read() say E_PROTOCOL, and
 * explain() say why; the peer has been sent the close frame that belongs to it, and is to be given
 * the time to read it: end() it, and read on.  The peer's own close frame is answered, then it is
 * E_EOF. */
#ifndef NET_WS_H
#define NET_WS_H

#include "net/transport.h"

/* Puts frames around *t, which it takes on success; after that it is as any other transport, and
 * may go to another thread.  E_NOMEM: *t is as it was. */
MUST_USE int ws_open(struct transport *t);

#endif
