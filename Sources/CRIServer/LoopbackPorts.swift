internal import Kernel
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import PodRuntime
internal import Synchronization

/// Host ports as the node's own programs reach them over its loopback addresses.
///
/// Everybody else is led to the pod by the kernel. What comes from 127.0.0.1 cannot be, unless the kernel is told to route
/// loopback addresses (route_localnet), which opens services on 127.0.0.1 to the network (CVE-2020-8558): it is carried
/// here instead, for TCP. While no daemon runs, the node itself reaches a host port by its other addresses only.
actor LoopbackPorts {
  /// A port of one loopback address and where its connections go.
  struct Place: Hashable, Sendable {
    var address: String
    var port: UInt16
    var target: String
    var targetPort: UInt16
  }

  /// Connections at one time, of all pods together; more are closed at once.
  static let connectionsMax = 1024
  /// For the pod to answer.
  static let connectSeconds: Int64 = 10

  private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

  private var listeners: [String: [any Channel]] = [:]
  private let connections = ConnectionCount()
  private let log: Logger

  init(log: Logger) { self.log = log }

  /// Where a sandbox's host ports are to be found; none for a pod on the node's own network.
  static func places(of sandbox: SandboxSnapshot) -> [Place] {
    guard sandbox.isReady, sandbox.config.network == .pod else { return [] }
    let loopbacks = [("127.0.0.1", "0.0.0.0", sandbox.addresses.ipv4), ("::1", "::", sandbox.addresses.ipv6)]
    return sandbox.config.hostPorts.filter { $0.transport == .tcp }.flatMap { mapping in
      loopbacks.compactMap { address, every, pod -> Place? in
        guard let pod, ["", address, every].contains(mapping.hostAddress) else { return nil }
        return Place(address: address, port: mapping.hostPort, target: pod, targetPort: mapping.containerPort)
      }
    }
  }

  /// Listens for a sandbox; a port that is taken is told and left out. A second call changes nothing.
  func open(_ sandbox: SandboxSnapshot) async {
    guard listeners[sandbox.id] == nil else { return }
    let places = Self.places(of: sandbox)
    guard !places.isEmpty else { return }
    listeners[sandbox.id] = []
    for place in places {
      do {
        let listener = try await listen(place)
        // It may have been closed meanwhile.
        if listeners[sandbox.id] == nil {
          listener.close(promise: nil)
        } else {
          listeners[sandbox.id]?.append(listener)
        }
      } catch {
        log.warning(
          "a host port is not reached over loopback",
          metadata: ["port": "\(place.address):\(place.port)", "pod": "\(sandbox.id.prefix(12))", "error": "\(error)"])
      }
    }
  }

  /// Stops listening; connections that are there go on until the pod ends them.
  func close(_ sandboxID: String) {
    for listener in listeners.removeValue(forKey: sandboxID) ?? [] { listener.close(promise: nil) }
  }

  func closeAll() { for id in Array(listeners.keys) { close(id) } }

  private func listen(_ place: Place) async throws -> any Channel {
    let connections = connections
    return try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
      .serverChannelOption(.backlog, value: 128)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { channel in
        guard connections.enter() else {
          connections.leave()
          return channel.close()
        }
        return Self.wrapped(channel).map { client in
          // Unstructured, for a connection outlives its listener; the count bounds them.
          Task {
            await Self.carry(client, place)
            connections.leave()
          }
        }
      }
      .bind(host: place.address, port: Int(place.port)).get()
  }

  private static func wrapped(_ channel: any Channel) -> EventLoopFuture<Connection> {
    channel.eventLoop.makeCompletedFuture {
      try Connection(wrappingChannelSynchronously: channel, configuration: .init(isOutboundHalfClosureEnabled: true))
    }
  }

  /// Until both sides have said all, or one is gone.
  private static func carry(_ client: Connection, _ place: Place) async {
    try? await client.executeThenClose { fromClient, toClient in
      let pod = try await ClientBootstrap(group: client.channel.eventLoop)
        .connectTimeout(.seconds(connectSeconds))
        .channelOption(.allowRemoteHalfClosure, value: true)
        .connect(host: place.target, port: Int(place.targetPort)) { Self.wrapped($0) }
      try await pod.executeThenClose { fromPod, toPod in
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask { try await copy(fromClient, toPod) }
          group.addTask { try await copy(fromPod, toClient) }
          try await group.waitForAll()
        }
      }
    }
  }

  /// Reads on only when what was read could be written, and tells the other side where there is no more.
  private static func copy(
    _ source: NIOAsyncChannelInboundStream<ByteBuffer>, _ target: NIOAsyncChannelOutboundWriter<ByteBuffer>
  ) async throws {
    for try await bytes in source { try await target.write(bytes) }
    target.finish()
  }
}

/// How many connections there are.
private final class ConnectionCount: Sendable {
  private let count = Atomic<Int>(0)

  /// To be left whatever it says. False where that is one too many.
  func enter() -> Bool { count.add(1, ordering: .relaxed).newValue <= LoopbackPorts.connectionsMax }

  func leave() { count.subtract(1, ordering: .relaxed) }
}
