package import DNSMessage
internal import Kernel
package import KubeClient
package import KubeModel
package import Logging
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// The cluster's name server, one on each node: the names of Services and their endpoints from the API server's objects, all others
/// from the node's own name servers (Kubernetes DNS-Based Service Discovery 1.1.0; RFC 1035, 6891, 7766).
///
/// It goes on with what it knows while the API server is away. Until it has known anything, it says of the cluster's names
/// that it cannot say, never that they are not there.
package final class ClusterDNS: Sendable {
  package struct Settings: Sendable {
    package var domain = DNSName.root
    /// Where it listens; asked again while there is none, or none that can be bound.
    package var hosts: @Sendable () -> [String] = { [] }
    package var port = 53
    /// Of Services and pods: what has no name there has none anywhere. Only they and the node itself are answered.
    package var ranges: [ZoneRange] = []
    /// As clients know the name server.
    package var addresses: [[UInt8]] = []
    /// For names of no zone of ours, in order.
    package var upstreams: [DNSUpstream] = []
    /// For names at or below a domain, instead of those.
    package var stubs: [DNSName: [DNSUpstream]] = [:]

    package init(domain: DNSName) { self.domain = domain }
  }

  /// Queries that wait for others, over all clients.
  static let waitingMax = 1024
  static let connectionsMax = 256
  /// A connection that says nothing for so long is closed (RFC 7766 §6.2.3).
  static let idle = TimeAmount.seconds(10)
  private static let bindRetry = Duration.milliseconds(250)

  private let settings: Settings
  private let logger: Logger
  private let resolver: DNSResolver
  /// Where it listens.
  private let own = Mutex<Set<String>>([])
  private let waiting = Places(waitingMax)
  private let connections = Places(connectionsMax)

  package init(
    settings: Settings, services: Informer<Service>, slices: Informer<EndpointSlice>, logger: Logger
  ) {
    (self.settings, self.logger) = (settings, logger)
    var zone = ClusterZone(domain: settings.domain)
    zone.ranges = settings.ranges
    zone.serverAddresses = settings.addresses
    // Whoever forwards to itself asks nobody.
    let isOwn = { @Sendable (upstream: DNSUpstream) in
      upstream.port == settings.port && settings.hosts().contains(upstream.host)
    }
    let resolver = DNSResolver(
      zone: zone, forwarder: DNSForwarder(), upstreams: settings.upstreams.filter { !isOwn($0) },
      stubs: settings.stubs.mapValues { $0.filter { !isOwn($0) } },
      isSynced: { services.hasSynced && slices.hasSynced })
    self.resolver = resolver
    services.onChange { event in
      let service = event.object
      resolver.change { zone in
        if case .deleted = event {
          zone.set(ZoneObjects.key(service.metadata), nil)
        } else {
          zone.set(ZoneObjects.key(service.metadata), ZoneObjects.service(service))
        }
      }
    }
    slices.onChange { event in
      let name = event.object.metadata.name ?? ""
      resolver.change { zone in
        // The label may have been changed: what was of one Service is another's then.
        if case .updated(let old, _) = event, let owner = ZoneObjects.owner(old) {
          zone.set(slice: name, of: owner, nil)
        }
        guard let owner = ZoneObjects.owner(event.object) else { return }
        if case .deleted = event {
          zone.set(slice: name, of: owner, nil)
        } else {
          zone.set(slice: name, of: owner, ZoneObjects.slice(event.object))
        }
      }
    }
  }

  /// Listens and answers until cancelled. Where it cannot listen it says so once, and tries on.
  /// - Parameter ready: told the port of each address that it listens at.
  package func run(ready: @escaping @Sendable (_ host: String, _ port: Int) -> Void = { _, _ in }) async throws {
    var known: [String] = []
    while known.isEmpty, !Task.isCancelled {
      known = settings.hosts()
      if known.isEmpty { try await Task.sleep(for: Self.bindRetry) }
    }
    own.withLock { $0 = Set(known) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for host in known { group.addTask { try await self.listen(host, ready) } }
      try await group.waitForAll()
    }
  }

  private func listen(_ host: String, _ ready: @escaping @Sendable (String, Int) -> Void) async throws {
    var hasFailed = false
    while !Task.isCancelled {
      do {
        let datagrams = try await bindDatagrams(host)
        let port = datagrams.channel.localAddress?.port ?? settings.port
        let streams: Listener
        do {
          streams = try await bindStreams(host, port)
        } catch {
          // A channel of this kind must be used once before it may go.
          try? await datagrams.executeThenClose { _, _ in }
          throw error
        }
        logger.info("cluster DNS listens at \(DNSUpstream(host: host, port: port)), UDP and TCP")
        ready(host, port)
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { try await self.serve(datagrams) }
          group.addTask { try await self.serve(streams) }
          try await group.next()
          group.cancelAll()
        }
      } catch {
        if Task.isCancelled { return }
        if !hasFailed {
          logger.error(
            "cluster DNS at \(DNSUpstream(host: host, port: settings.port)): \(error); tried again every \(Self.bindRetry)"
          )
        }
        hasFailed = true
      }
      try await Task.sleep(for: Self.bindRetry)
    }
  }

  /// Who may ask: pods and the node itself. A node's address may be one of a network that others are in, and whoever
  /// answers everybody there helps those who flood a third with answers.
  private func isClient(_ address: SocketAddress?) -> Bool {
    guard let text = address?.ipAddress, let client = IPAddress(text) else { return false }
    if client.isLoopback || settings.ranges.contains(where: { $0.contains(client.bytes) }) { return true }
    return own.withLock { $0.contains(text) }
  }

  // MARK: UDP

  private typealias Packet = AddressedEnvelope<ByteBuffer>

  private func bindDatagrams(_ host: String) async throws -> NIOAsyncChannel<Packet, Packet> {
    try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: host, port: settings.port) { channel in
        channel.eventLoop.makeCompletedFuture {
          try NIOAsyncChannel<Packet, Packet>(wrappingChannelSynchronously: channel)
        }
      }
  }

  private func serve(_ channel: NIOAsyncChannel<Packet, Packet>) async throws {
    try await channel.executeThenClose { inbound, outbound in
      try await withThrowingDiscardingTaskGroup { group in
        for try await packet in inbound {
          let client = packet.remoteAddress
          guard isClient(client) else { continue }
          guard let query = parse(Array(packet.data.readableBytesView)) else { continue }
          let bytesMax = DNSResolver.bytesMax(for: query)
          switch resolver.first(query) {
          case .silence: break
          case .answer(let answer):
            try await outbound.write(Packet(remoteAddress: client, data: Self.bytes(answer, bytesMax)))
          case .ask(let question, let known):
            guard waiting.take() else { continue }
            group.addTask {
              let answer = await self.resolver.rest(of: query, question, known: known)
              // A client that is gone meanwhile is no failure of the server's.
              try? await outbound.write(Packet(remoteAddress: client, data: Self.bytes(answer, bytesMax)))
              self.waiting.leave()
            }
          }
        }
      }
    }
  }

  private static func bytes(_ answer: DNSMessage, _ bytesMax: Int) -> ByteBuffer {
    ByteBuffer(bytes: answer.encoded(bytesMax: bytesMax))
  }

  /// What is no message has an answer only where it has a number.
  private func parse(_ bytes: [UInt8]) -> DNSMessage? {
    do throws(DNSParseError) {
      return try DNSMessage(parsing: bytes)
    } catch {
      logger.debug("a query that is none: \(error)")
      guard bytes.count >= 12, bytes[2] & 0x80 == 0 else { return nil }
      // Without a question it is answered as what it is: an error of form.
      var broken = DNSMessage()
      broken.id = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
      broken.wantsRecursion = bytes[2] & 1 != 0
      return broken
    }
  }

  // MARK: TCP

  private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>
  private typealias Listener = NIOAsyncChannel<Connection, Never>

  private func bindStreams(_ host: String, _ port: Int) async throws -> Listener {
    try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
      .bind(host: host, port: port) { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandlers(IdleStateHandler(allTimeout: Self.idle), CloseWhenIdle())
          return try Connection(wrappingChannelSynchronously: channel)
        }
      }
  }

  private func serve(_ listener: Listener) async throws {
    try await listener.executeThenClose { inbound in
      try await withThrowingDiscardingTaskGroup { group in
        for try await connection in inbound {
          guard isClient(connection.channel.remoteAddress), connections.take() else {
            try? await connection.executeThenClose { _, _ in }
            continue
          }
          group.addTask {
            try? await self.serve(connection)
            self.connections.leave()
          }
        }
      }
    }
  }

  /// One query after another: whoever sends many at once by TCP waits for each.
  private func serve(_ connection: Connection) async throws {
    try await connection.executeThenClose { inbound, outbound in
      var frames = DNSFrames()
      for try await part in inbound {
        frames.take(part)
        while let bytes = frames.next() {
          guard let query = parse(bytes) else { return }
          switch resolver.first(query) {
          case .silence: return
          case .answer(let answer): try await outbound.write(DNSFrames.framed(answer.encoded()))
          case .ask(let question, let known):
            let answer = await resolver.rest(of: query, question, known: known)
            try await outbound.write(DNSFrames.framed(answer.encoded()))
          }
        }
      }
    }
  }
}

/// So many at the same time and no more.
private final class Places: Sendable {
  private let taken = Atomic<Int>(0)
  private let most: Int

  init(_ most: Int) { self.most = most }

  func take() -> Bool {
    guard taken.wrappingAdd(1, ordering: .relaxed).newValue <= most else {
      leave()
      return false
    }
    return true
  }

  func leave() { taken.wrappingSubtract(1, ordering: .relaxed) }
}

private final class CloseWhenIdle: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if event is IdleStateHandler.IdleStateEvent {
      context.close(promise: nil)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }
}
