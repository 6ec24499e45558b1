internal import Kernel
internal import NIOCore
internal import NIOHTTP1
internal import NIOHTTP2
internal import NIOPosix
internal import NIOSSL

/// A unix socket's path, held by its lock as long as the server lives.
final class OwnedUnixSocket: Sendable {
  private let listener: UnixSocketListener

  init(_ listener: consuming UnixSocketListener) { self.listener = listener }

  func duplicate() throws(SyscallError) -> OwnedFD { try listener.socket.duplicate() }

  /// So that clients see at once that nobody serves the path.
  func unlink() { try? listener.unlink() }
}

struct BoundListener: Sendable {
  let channel: any Channel
  let address: String
  let socket: OwnedUnixSocket?

  func close() async {
    socket?.unlink()
    try? await channel.close()
  }
}

/// What a connection knows of its client from the start.
struct ConnectionFacts: Sendable {
  var peer: HTTPPeer
  var isSecure: Bool
  var remoteAddress: String
}

extension ServerCore {
  /// Connections that wait to be accepted.
  private static let backlog: Int32 = 1024

  func listen(_ listener: HTTPListener) async throws(HTTPServerError) -> BoundListener {
    switch listener {
    case .unix(let path, let mode): try await listenUnix(path, mode)
    case .tcp(let host, let port, let tls): try await listenTCP(host, port, tls)
    }
  }

  private func listenUnix(_ path: String, _ mode: UInt32) async throws(HTTPServerError) -> BoundListener {
    do {
      let socket = OwnedUnixSocket(try UnixSocketListener.bind(path, mode: mode))
      let channel = try await bootstrap { channel in self.setUpUnix(channel) }
        .withBoundSocket(try socket.duplicate().release()).get()
      return BoundListener(channel: channel, address: path, socket: socket)
    } catch {
      throw .bind(address: path, reason: "\(error)")
    }
  }

  private func listenTCP(_ host: String, _ port: Int, _ tls: HTTPTLS?) async throws(HTTPServerError) -> BoundListener {
    let isV6 = host.contains(":")
    let shown = isV6 ? "[\(host)]" : host
    do {
      // IP_FREEBIND, IPV6_FREEBIND: the address may come later.
      let freebind =
        isV6
        ? ChannelOptions.Types.SocketOption(level: .ipv6, name: NIOBSDSocket.Option(rawValue: 78))
        : ChannelOptions.Types.SocketOption(level: .ip, name: NIOBSDSocket.Option(rawValue: 15))
      let channel = try await bootstrap { channel in self.setUpTCP(channel, tls) }
        .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
        .serverChannelOption(freebind, value: 1)
        .childChannelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
        .childChannelOption(ChannelOptions.socketOption(.so_keepalive), value: 1)
        // TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT: a client whose machine vanished is noticed after 30 + 4 × 15 s.
        .childChannelOption(ChannelOptions.tcpOption(.init(rawValue: 4)), value: 30)
        .childChannelOption(ChannelOptions.tcpOption(.init(rawValue: 5)), value: 15)
        .childChannelOption(ChannelOptions.tcpOption(.init(rawValue: 6)), value: 4)
        .bind(to: try SocketAddress.makeAddressResolvingHost(host, port: port)).get()
      return BoundListener(
        channel: channel, address: "\(shown):\(channel.localAddress?.port ?? port)", socket: nil)
    } catch {
      throw .bind(address: "\(shown):\(port)", reason: "\(error)")
    }
  }

  private func bootstrap(
    _ setUp: @escaping @Sendable (any Channel) -> EventLoopFuture<Void>
  ) -> ServerBootstrap {
    ServerBootstrap(group: Self.group)
      .serverChannelOption(ChannelOptions.backlog, value: Self.backlog)
      .serverChannelInitializer { channel in
        // Out of descriptors: waits, rather than spinning.
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(AcceptBackoffHandler())
        }
      }
      .childChannelOption(ChannelOptions.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        guard self.connectionOpened(channel) else { return channel.close() }
        channel.closeFuture.whenComplete { _ in self.connectionClosed(channel) }
        return setUp(channel)
      }
  }

  /// What the kernel says of the process at the other end of a unix socket: `struct ucred`.
  private struct PeerCredentials: Sendable {
    var process: Int32 = 0
    var user: UInt32 = .max
    var group: UInt32 = .max
  }

  private func setUpUnix(_ channel: any Channel) -> EventLoopFuture<Void> {
    guard let provider = channel as? any SocketOptionProvider else { return channel.close() }
    // SO_PEERCRED. Safe: PeerCredentials has the layout of struct ucred, three 32-bit numbers.
    let credentials: EventLoopFuture<PeerCredentials> = provider.unsafeGetSocketOption(
      level: NIOBSDSocket.OptionLevel.socket, name: NIOBSDSocket.Option(rawValue: 17))
    return credentials.flatMapThrowing { credentials in
      let peer = HTTPPeer.unix(user: credentials.user, group: credentials.group, process: credentials.process)
      try self.addHTTP1(to: channel, ConnectionFacts(peer: peer, isSecure: false, remoteAddress: ""))
    }
  }

  private func setUpTCP(_ channel: any Channel, _ tls: HTTPTLS?) -> EventLoopFuture<Void> {
    guard let tls else {
      return channel.eventLoop.makeCompletedFuture {
        try self.addHTTP1(to: channel, Self.facts(channel, peer: .anonymous, isSecure: false))
      }
    }
    let deadline = channel.eventLoop.scheduleTask(in: .seconds(Int64(limits.headTimeoutSeconds))) {
      channel.close(promise: nil)
    }
    channel.closeFuture.whenComplete { _ in deadline.cancel() }
    do {
      try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls.context))
      try channel.pipeline.syncOperations.addHandler(ConnectionErrors(logger: logger))
    } catch {
      return channel.eventLoop.makeFailedFuture(error)
    }
    return channel.configureHTTP2SecureUpgrade(
      h2ChannelConfigurator: { channel in
        deadline.cancel()
        return channel.eventLoop.makeCompletedFuture { try self.addHTTP2(to: channel) }
      },
      http1ChannelConfigurator: { channel in
        deadline.cancel()
        return channel.eventLoop.makeCompletedFuture {
          try self.addHTTP1(to: channel, Self.facts(channel, peer: Self.tlsPeer(channel), isSecure: true))
        }
      })
  }

  private static func facts(_ channel: any Channel, peer: HTTPPeer, isSecure: Bool) -> ConnectionFacts {
    let address = channel.remoteAddress.map { address in
      let host = address.ipAddress ?? ""
      return "\(host.contains(":") ? "[\(host)]" : host):\(address.port ?? 0)"
    }
    return ConnectionFacts(peer: peer, isSecure: isSecure, remoteAddress: address ?? "")
  }

  /// Who the client's certificate, which is verified by now, says that it is.
  private static func tlsPeer(_ channel: any Channel) -> HTTPPeer {
    guard let handler = try? channel.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self),
      let certificate = handler.peerCertificate, let bytes = try? certificate.toDERBytes(),
      let subject = CertificateSubject(der: bytes)
    else { return .anonymous }
    return .certificate(commonName: subject.commonName, organizations: subject.organizations)
  }

  // MARK: pipelines

  func addHTTP1(to channel: any Channel, _ facts: ConnectionFacts) throws {
    let pipeline = channel.pipeline.syncOperations
    var decoding = NIOHTTPDecoderLimitConfiguration()
    decoding.maxHeaderFieldSize = limits.headBytesMax
    decoding.maxHeaderListSize = limits.headBytesMax
    decoding.maxHeaderFieldCount = limits.headFieldsMax
    let decoder = HTTPRequestDecoder(
      leftOverBytesStrategy: .forwardBytes, informationalResponseStrategy: .drop, limitConfiguration: decoding)
    let clock = ConnectionClock(limits)
    try pipeline.addHandlers([
      clock, HTTPResponseEncoder(), ByteToMessageHandler(decoder), HTTPServerPipelineHandler(),
      ExchangeHandler(self, facts, isHTTP2: false, clock: clock),
    ])
  }

  private func addHTTP2(to channel: any Channel) throws {
    let facts = Self.facts(channel, peer: Self.tlsPeer(channel), isSecure: true)
    var connection = NIOHTTP2Handler.ConnectionConfiguration()
    connection.initialSettings = [
      HTTP2Setting(parameter: .maxConcurrentStreams, value: limits.streamsMax),
      HTTP2Setting(parameter: .maxHeaderListSize, value: limits.headBytesMax),
      HTTP2Setting(parameter: .initialWindowSize, value: Self.streamWindowBytes),
    ]
    connection.targetWindowSize = Self.connectionWindowBytes
    var stream = NIOHTTP2Handler.StreamConfiguration()
    stream.targetWindowSize = Self.streamWindowBytes
    stream.outboundBufferSizeHighWatermark = 64 << 10
    stream.outboundBufferSizeLowWatermark = 32 << 10
    var care = NIOHTTP2ServerConnectionManagementHandler.Configuration.defaults
    care.maxIdleTime = .seconds(Int64(limits.idleTimeoutSeconds))
    care.maxGraceTime = .seconds(Int64(limits.shutdownGraceSeconds))
    care.keepalive = nil
    try channel.pipeline.syncOperations.addHandler(FlushGate(executor(of: channel.eventLoop).gatherer))
    let management = NIOHTTP2ServerConnectionManagementHandler(eventLoop: channel.eventLoop, configuration: care)
    _ = try channel.pipeline.syncOperations.configureHTTP2Pipeline(
      mode: .server, connectionConfiguration: connection, streamConfiguration: stream,
      streamDelegate: management.http2StreamDelegate
    ) { stream in
      stream.eventLoop.makeCompletedFuture {
        try stream.pipeline.syncOperations.addHandlers([
          HTTP2FramePayloadToHTTP1ServerCodec(), ExchangeHandler(self, facts, isHTTP2: true, clock: nil),
        ])
      }
    }
    try channel.pipeline.syncOperations.addHandler(management)
    try channel.pipeline.syncOperations.addHandler(HTTP2Ending())
  }

  /// What a client may send ahead of our reading, per stream and for all of them.
  private static let streamWindowBytes = 256 << 10
  private static let connectionWindowBytes = 1 << 20
}
