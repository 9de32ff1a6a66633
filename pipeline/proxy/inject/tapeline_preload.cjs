"use strict";
/*
 * Run by node before every child program: leads fetch, node:https and node:http through HTTPS_PROXY.
 *
 * Node learned to read the proxy variables in 22.21 and 24.5 (NODE_USE_ENV_PROXY); older ones go direct
 * without a word, and newer ones still do with any http.Agent but the global one. What node leads to the
 * proxy by itself stays untouched; every other connection is made through a CONNECT tunnel, those to http://
 * targets too, so that requests stay as written. Trust is left to node itself (NODE_EXTRA_CA_CERTS).
 *
 * This file runs inside other people's programs: silent, with no dependency, keeping no process alive, and
 * no failure of its own may reach them. Agents and dispatchers that connect in their own way are left alone.
 */

const http = require("node:http");
const net = require("node:net");
const tls = require("node:tls");

const request = http.request; // as it is now: tools for tracing and mocking replace it; tunnels are ours
const TUNNEL = Symbol("tapeline.tunnel");
const FETCH_DISPATCHER = Symbol.for("undici.globalDispatcher.1");
const FETCH_CONNECT_TIMEOUT_MS = 10_000; // fetch's own limit, left to the connector when one is given

/** Where the proxy listens; null where there is none, or one that wants TLS or SOCKS. */
function proxyFromEnvironment() {
  const text = process.env.HTTPS_PROXY || process.env.https_proxy;
  const url = text ? new URL(text) : null;
  return url?.protocol === "http:" ? { host: bare(url.hostname), port: Number(url.port) || 80 } : null;
}

/** URLs write IPv6 addresses in brackets, sockets and certificates do not. */
function bare(hostname) {
  return hostname.replace(/^\[(.*)\]$/, "$1");
}

/** Returns the CONNECT request; calls back once, with an error or the socket that leads to the target. */
function openTunnel(proxy, host, port, callback) {
  const target = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
  const connect = request({
    method: "CONNECT",
    path: target,
    headers: { host: target },
    createConnection: () => net.connect(proxy),
  });
  connect.once("connect", (response, socket, head) => {
    connect.off("error", callback);
    socket.setTimeout(0).removeAllListeners("timeout"); // that limit was for the CONNECT request alone
    if (head.length > 0) socket.unshift(head);
    if (response.statusCode === 200) return callback(null, socket);
    socket.destroy();
    return callback(refusal(target, response.statusCode));
  });
  connect.once("error", callback);
  connect.end();
  return connect;
}

/** With the code that the program would have met without the proxy, as retry logic looks at it. */
function refusal(target, status) {
  const error = new Error(`connect ECONNREFUSED ${target} (the proxy answered ${status})`);
  return Object.assign(error, { code: "ECONNREFUSED", syscall: "connect" });
}

// ---- node:http and node:https ----------------------------------------------------------------------------
// Both make their connections in `Agent.createSocket`. With a tunnel opened before it, all that follows stays
// node's own: the pool, TLS with its session cache, and whatever an agent such as agentkeepalive adds.

function patchAgents(proxy) {
  const { createSocket, createConnection } = http.Agent.prototype;

  http.Agent.prototype.createSocket = function createTunnelledSocket(clientRequest, options, callback) {
    if (this.createSocket !== createTunnelledSocket || goesAsItIs(proxy, this, options)) {
      return createSocket.call(this, clientRequest, options, callback);
    }
    return tunnelFor(proxy, clientRequest, options, (error, tunnel) => {
      if (error) return callback(error);
      const tunnelled = { ...options, socket: tunnel, [TUNNEL]: tunnel }; // tls.connect takes `socket`
      return createSocket.call(this, clientRequest, tunnelled, (failure, socket) => {
        if (failure || (socket !== tunnel && socket?._parent === null)) tunnel.destroy(); // not in use
        if (socket && options.timeout) socket.setTimeout(options.timeout); // node's, when it connects
        callback(failure, socket);
      });
    });
  };

  http.Agent.prototype.createConnection = function takeTunnel(...args) {
    return args[0]?.[TUNNEL] ?? createConnection.apply(this, args);
  };
}

/** Unix sockets have no host; newer nodes and some libraries lead a request to the proxy themselves. */
function goesAsItIs(proxy, agent, options) {
  const isProxy = Number(options.port) === proxy.port && [proxy.host, "localhost"].includes(options.host);
  return isProxy || Boolean(options.socketPath || agent.options.proxyEnv);
}

/** A tunnel that shares its request's timeout and end, which without a socket would act on nothing. */
function tunnelFor(proxy, clientRequest, options, callback) {
  let pending = true;
  const connect = openTunnel(proxy, bare(options.host), options.port, (error, tunnel) => {
    pending = false;
    callback(error, tunnel);
  });
  connect.on("timeout", () => clientRequest.emit("timeout"));
  if (clientRequest.timeout) connect.setTimeout(clientRequest.timeout);
  for (const method of ["setTimeout", "destroy"]) {
    const original = clientRequest[method];
    clientRequest[method] = function sharedWithTunnel(...args) {
      const result = original.apply(this, args);
      if (pending) connect[method](args[0]);
      return result;
    };
  }
}

// ---- fetch -----------------------------------------------------------------------------------------------

function patchFetch(proxy) {
  void globalThis.Headers; // the first use of any of its names loads fetch, and its dispatcher with it
  const Agent = globalThis[FETCH_DISPATCHER]?.constructor;
  if (Agent?.name !== "Agent") return muteProxyWarning(); // NODE_USE_ENV_PROXY has put its own one here
  const connect = (options, callback) => connectFetch(proxy, options, callback);
  globalThis[FETCH_DISPATCHER] = new Agent({ connect });
}

/** Node 22.21 calls that dispatcher experimental; it was not the program that asked for it. */
function muteProxyWarning() {
  const listeners = process.listeners("warning");
  process.removeAllListeners("warning");
  process.on("warning", (warning) => {
    if (warning.code === "UNDICI-EHPA") return;
    for (const listener of listeners) listener.call(process, warning);
  });
}

function connectFetch(proxy, { hostname, port, protocol, servername }, callback) {
  const host = bare(hostname);
  const secure = protocol === "https:";
  const connect = openTunnel(proxy, host, Number(port) || (secure ? 443 : 80), (error, tunnel) => {
    if (error || !secure) return callback(error, tunnel);
    return startTls(tunnel, host, servername, callback);
  });
  connect.setTimeout(FETCH_CONNECT_TIMEOUT_MS, () => connect.destroy(connectTimeout()));
}

function startTls(tunnel, host, servername, callback) {
  const name = servername || (net.isIP(host) ? undefined : host); // TLS knows no names that are addresses
  const socket = tls.connect({ socket: tunnel, host, servername: name, ALPNProtocols: ["http/1.1"] });
  socket.once("error", callback);
  socket.once("secureConnect", () => {
    socket.off("error", callback);
    callback(null, socket);
  });
}

function connectTimeout() {
  return Object.assign(new Error("Connect Timeout Error"), {
    name: "ConnectTimeoutError",
    code: "UND_ERR_CONNECT_TIMEOUT",
  });
}

try {
  const proxy = proxyFromEnvironment();
  if (proxy) {
    patchAgents(proxy);
    patchFetch(proxy);
  }
} catch {
  // The program matters more than its recording; `tapeline` says so when it has seen no request.
}
