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
      .childChannelOption(.autoRead, value: false)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelInitializer { client in
        guard connections.enter() else { return client.close() }
        client.closeFuture.whenComplete { _ in connections.leave() }
        return Self.join(client, place)
      }
      .bind(host: place.address, port: Int(place.port)).get()
  }

  /// Connects to the pod on the client's event loop and lets bytes through once both are there.
  private static func join(_ client: any Channel, _ place: Place) -> EventLoopFuture<Void> {
    let (ours, theirs) = PipeEnd.pair()
    let bound = NIOLoopBound((ours, theirs), eventLoop: client.eventLoop)
    let ready = client.eventLoop.makeCompletedFuture { try client.pipeline.syncOperations.addHandler(bound.value.0) }
    ClientBootstrap(group: client.eventLoop)
      .connectTimeout(.seconds(connectSeconds))
      .channelOption(.autoRead, value: false)
      .channelOption(.allowRemoteHalfClosure, value: true)
      .channelInitializer { pod in
        pod.eventLoop.makeCompletedFuture { try pod.pipeline.syncOperations.addHandler(bound.value.1) }
      }
      .connect(host: place.target, port: Int(place.targetPort))
      .whenComplete { result in
        switch result {
        case .success(let pod):
          pod.read()
          client.read()
        case .failure: client.close(promise: nil)
        }
      }
    return ready
  }
}

/// How many connections there are.
private final class ConnectionCount: Sendable {
  private let count = Atomic<Int>(0)

  func enter() -> Bool {
    if count.add(1, ordering: .relaxed).newValue <= LoopbackPorts.connectionsMax { return true }
    leave()
    return false
  }

  func leave() { count.subtract(1, ordering: .relaxed) }
}

/// One of two channels of the same event loop: what is read here is written there, and no more is read before that is done.
private final class PipeEnd: ChannelDuplexHandler {
  typealias InboundIn = NIOAny
  typealias OutboundIn = NIOAny
  typealias OutboundOut = NIOAny

  private var partner: PipeEnd?
  private var context: ChannelHandlerContext?
  private var wantsRead = false

  static func pair() -> (PipeEnd, PipeEnd) {
    let (one, other) = (PipeEnd(), PipeEnd())
    (one.partner, other.partner) = (other, one)
    return (one, other)
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    partner = nil
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) { partner?.context?.write(data, promise: nil) }

  func channelReadComplete(context: ChannelHandlerContext) {
    partner?.context?.flush()
    if partner?.context?.channel.isWritable == true { context.read() } else { wantsRead = true }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    guard context.channel.isWritable, let partner, partner.wantsRead else { return }
    partner.wantsRead = false
    partner.context?.read()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .some(.inputClosed) = event as? ChannelEvent {
      partner?.context?.close(mode: .output, promise: nil)
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    partner?.context?.close(promise: nil)
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
