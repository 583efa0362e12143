/* Line echo with libevent: a bufferevent per connection, lines read with
 * evbuffer_readln. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

static void on_read(struct bufferevent *connection, void *unused)
{
    struct evbuffer *output = bufferevent_get_output(connection);
    char *line;
    size_t len;

    (void)unused;
    while ((line = evbuffer_readln(bufferevent_get_input(connection), &len, EVBUFFER_EOL_LF))) {
        evbuffer_add(output, line, len);
        evbuffer_add(output, "\n", 1);
        free(line);
    }
}

static void on_end(struct bufferevent *connection, short what, void *unused)
{
    (void)unused;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        bufferevent_free(connection);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd,
                      struct sockaddr *peer, int len, void *unused)
{
    struct event_base *base = evconnlistener_get_base(listener);
    struct bufferevent *connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    int on = 1;

    (void)peer, (void)len, (void)unused;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    bufferevent_setcb(connection, on_read, NULL, on_end, NULL);
    bufferevent_enable(connection, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    struct event_base *base = event_base_new();
    struct sockaddr_in addr;

    memset(&addr, 0, sizeof addr);
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons((unsigned short)atoi(argv[argc - 1]));
    if (!evconnlistener_new_bind(base, on_accept, NULL,
                                 LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 4096,
                                 (struct sockaddr *)&addr, sizeof addr))
        return 1;
    return event_base_dispatch(base);
}
