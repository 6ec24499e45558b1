internal import CNI
internal import DaemonConfiguration
internal import Kernel
internal import PodNetwork
internal import PodRuntime

/// The networks of this node's pods: CNI plugins where there is a configuration for them, else the built-in one. A pod is
/// taken down by what made its network, whatever the configuration says by then.
actor NodeNetwork {
  private let mode: DaemonSettings.NetworkMode
  private let builtin: PodNetwork
  let cni: CNINetwork
  /// The built-in network makes links and rules of the node: not before somebody needs it.
  private var starting: Task<PodNetworkRecovery, any Error>?
  private let builtinRecords: String

  init(mode: DaemonSettings.NetworkMode, builtin: PodNetwork, cni: CNINetwork, run: String) {
    self.mode = mode
    self.builtin = builtin
    self.cni = cni
    builtinRecords = "\(run)/network"
  }

  nonisolated var provider: NetworkProvider {
    NetworkProvider(
      start: { try await self.start($0) }, attach: { try await self.attach($0) }, detach: { try await self.detach($0) })
  }

  private func start(_ known: Set<String>) async throws -> [String: String] {
    var lost: [String: String] = [:]
    var rest = known
    if mode != .builtin || Self.holdsFiles(cni.setup.recordsDirectory) {
      let recovery = try await cni.start(known: known)
      lost = recovery.lost
      rest.subtract(recovery.adopted)
      rest.subtract(recovery.lost.keys)
    }
    guard await usesBuiltin || !rest.isEmpty || Self.holdsFiles(builtinRecords) else { return lost }
    return lost.merging(try await startBuiltin(rest).lost) { mine, _ in mine }
  }

  private static func holdsFiles(_ directory: String) -> Bool {
    guard let entries = try? Directory(path: directory).list() else { return false }
    return !entries.isEmpty
  }

  /// For new pods.
  private var usesBuiltin: Bool {
    get async {
      switch mode {
      case .builtin: true
      case .cni: false
      case .auto: await cni.state == .none
      }
    }
  }

  private func startBuiltin(_ known: Set<String>) async throws -> PodNetworkRecovery {
    if let starting { return try await starting.value }
    // Kept, so that those who come meanwhile wait for the same start.
    let task = Task { [builtin] () async throws -> PodNetworkRecovery in try await builtin.start(known: known) }
    starting = task
    do {
      return try await task.value
    } catch {
      starting = nil
      throw error
    }
  }

  private func attach(_ request: NetworkRequest) async throws -> SandboxAddresses {
    let id = request.sandboxID
    let isPlugins = await cni.holds(id)
    let isBuiltin = await builtin.addresses(of: id) != nil
    let prefersBuiltin = await usesBuiltin
    guard isBuiltin || (!isPlugins && prefersBuiltin) else {
      do throws(CNIError) {
        let addresses = try await cni.attach(id, CNIAttachment(request), in: request.namespacePath)
        return SandboxAddresses(
          ipv4: addresses.ipv4, ipv6: addresses.ipv6, namespacePath: addresses.namespacePath,
          hostLink: addresses.hostLink)
      } catch {
        throw Self.runtimeError(error, id)
      }
    }
    _ = try await startBuiltin([])
    let addresses = try await builtin.attach(
      id, hostPorts: try request.portMappings.map(HostPort.init), in: request.namespacePath)
    return SandboxAddresses(
      ipv4: addresses.ipv4?.description, ipv6: addresses.ipv6?.description,
      namespacePath: addresses.namespacePath, hostLink: addresses.hostLink)
  }

  private func detach(_ id: String) async throws {
    do throws(CNIError) { try await cni.detach(id) } catch { throw Self.runtimeError(error, id) }
    if starting != nil { try await builtin.detach(id) }
  }

  /// Why new pods get no network.
  func problem() async -> String? { await usesBuiltin ? nil : await cni.problem() }

  /// Reads the CNI configuration anew; it is also read whenever its directory changes.
  func reload() async { if mode != .builtin { await cni.reload() } }

  /// Follows the CNI configuration until cancelled.
  func run() async { if mode != .builtin { await cni.run() } }

  func stop() async { if starting != nil { await builtin.stop() } }

  private static func runtimeError(_ error: CNIError, _ id: String) -> PodRuntime.RuntimeError {
    let code: PodRuntime.RuntimeError.Code =
      switch error.code {
      case .configuration, .invalidID: .invalidArgument
      case .notReady: .unavailable
      case .timedOut: .deadlineExceeded
      case .plugin, .kernel: .failed
      }
    return PodRuntime.RuntimeError(code, stage: "pod network", subject: id, cause: error)
  }
}

extension CNIAttachment {
  init(_ request: NetworkRequest) {
    self.init()
    podNamespace = request.identity.namespace
    podName = request.identity.name
    podUID = request.identity.uid
    annotations = request.annotations
    ports = request.portMappings.map { mapping in
      Port(
        transport: mapping.transport.rawValue, hostPort: mapping.hostPort, containerPort: mapping.containerPort,
        hostAddress: mapping.hostAddress)
    }
    nameServers = request.nameResolution?.servers ?? []
    searchDomains = request.nameResolution?.searches ?? []
    resolverOptions = request.nameResolution?.options ?? []
    aliases = [request.identity.name]
    cgroupPath = request.cgroupParent
  }
}

extension HostPort {
  init(_ mapping: PortMapping) throws {
    var address: IPAddress?
    if !mapping.hostAddress.isEmpty {
      guard let parsed = IPAddress(mapping.hostAddress) else {
        throw PodRuntime.RuntimeError(
          .invalidArgument, stage: "read host port", subject: mapping.hostAddress, reason: "is no address")
      }
      // Every address is what an absent one means.
      address = parsed.isUnspecified ? nil : parsed
    }
    let transport: TransportProtocol
    switch mapping.transport {
    case .tcp: transport = .tcp
    case .udp: transport = .udp
    case .sctp:
      throw PodRuntime.RuntimeError(
        .unsupported, stage: "read host port", subject: "\(mapping.hostPort)/sctp", reason: "host ports are TCP and UDP"
      )
    }
    self.init(
      transport: transport, hostIP: address, hostPort: mapping.hostPort, containerPort: mapping.containerPort)
  }
}
