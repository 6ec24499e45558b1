package import Kernel
package import Logging
internal import NFT

/// Pod network namespaces, links, addresses and routes of one node, and nftables table `inet martlet-pods`.
///
/// Acts in the network namespace of the process, or in the one given. Needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
/// Pods with the host's network never come here.
package actor PodNetwork {
  let layout: RunLayout
  let configuration: PodNetworkConfiguration
  let logger: Logger
  let home: NetworkNamespace?
  let rules: PodRules

  /// Nil until `start`.
  var open: Open?
  var pods: [String: Pod] = [:]
  var gate = Gate()
  private var ready: [ReadyNamespace] = []
  private var refill: Task<Void, Never>?
  var reaper = Reaper()

  /// What `start` opened: sockets belong to the node's namespace wherever they are used.
  struct Open {
    let routes: RouteSocket
    /// Of the reaper's thread alone.
    let reaperRoutes: RouteSocket
    let transactions: NftTransactions
    var addresses: AddressPool
    /// The rules as they stand in the kernel.
    var table: Table
  }

  struct Pod: Sendable {
    enum Phase: Sendable { case coming, whole, going }
    var record: NetworkRecord
    var phase: Phase
  }

  /// - Parameters:
  ///   - runDirectory: namespaces are pinned in `netns`, records lie in `network` below it.
  ///   - namespace: the node's; nil: that of the process.
  package init(
    runDirectory: String, configuration: PodNetworkConfiguration, logger: Logger, namespace: NetworkNamespace? = nil
  ) {
    layout = RunLayout(runDirectory: runDirectory)
    self.configuration = configuration
    self.logger = logger
    home = namespace
    rules = PodRules(
      podCIDRs: configuration.podCIDRs, clusterCIDRs: configuration.clusterCIDRs,
      serviceCIDRs: configuration.serviceCIDRs, masquerade: configuration.masquerade)
  }

  /// Adopts the networks of `known` sandboxes, takes down all others, and fills the pool. Call once, before `attach`.
  /// Blocks for as long as the kernel needs to delete the links of unknown pods.
  package func start(known: Set<String>) async throws(PodNetworkError) -> PodNetworkRecovery {
    try await recover(known: known)
  }

  /// Gives the pod a namespace with addresses. Again for the same pod: the same answer.
  /// Takes well under a millisecond while ready namespaces are left.
  /// - Parameter namespacePath: leads to an empty namespace that the pod must have, such as one that belongs to its user
  ///   namespace; nil: any.
  package func attach(
    _ sandboxID: String, hostPorts: [HostPort] = [], in namespacePath: String? = nil
  ) async throws(PodNetworkError) -> PodAddresses {
    let stage = "attach \(sandboxID)"
    try check(sandboxID, stage)
    await enterGate(sandboxID)
    defer { gate.leave(sandboxID) }
    if let pod = pods[sandboxID] {
      if pod.phase == .whole { return answer(pod.record) }
      // An earlier attempt failed and could not undo itself.
      try await takeDown(sandboxID, stage)
    }
    if open == nil { throw PodNetworkError(code: .notStarted, stage: stage, detail: "the pod network has not started") }
    let namespace = try await takeReady(stage, namespacePath)
    // Nothing suspends from here to the end: what was checked stays true.
    try checkHostPorts(hostPorts, stage)
    let record = try claim(sandboxID, namespace.hostLink.name, hostPorts, stage)
    do throws(SyscallError) {
      try Files.writeAtomically(layout.record(sandboxID), record.encoded())
      try connect(record, namespace)
      if !hostPorts.isEmpty { try applyRules() }
      // Last: a pin with a record means that all of it is there.
      try namespace.namespace.pin(at: layout.pin(sandboxID))
    } catch {
      let failure = PodNetworkError(code: .kernel, stage: stage, detail: error.description)
      do throws(PodNetworkError) {
        try await takeDown(sandboxID, stage)
      } catch {
        logger.error("undo \(stage): \(error.detail); `detach` tries again")
      }
      throw failure
    }
    pods[sandboxID]?.phase = .whole
    startRefill()
    return answer(record)
  }

  /// Takes link, addresses, routes, rules and namespace away; a pod that has none is fine. Repeat after an error.
  /// Takes as long as the kernel needs to delete a link: milliseconds.
  package func detach(_ sandboxID: String) async throws(PodNetworkError) {
    let stage = "detach \(sandboxID)"
    try check(sandboxID, stage)
    await enterGate(sandboxID)
    defer { gate.leave(sandboxID) }
    if open == nil { throw PodNetworkError(code: .notStarted, stage: stage, detail: "the pod network has not started") }
    try await takeDown(sandboxID, stage)
  }

  /// What `attach` gave and `detach` has not taken yet.
  package func addresses(of sandboxID: String) -> PodAddresses? {
    guard let pod = pods[sandboxID], pod.phase == .whole else { return nil }
    return answer(pod.record)
  }

  /// Drops the pool and waits until its links are gone; pods keep their network.
  package func stop() async {
    refill?.cancel()
    await refill?.value
    refill = nil
    let links = ready.map(\.hostLink.name)
    ready = []
    await withTaskGroup { group in
      // Dropping their namespaces has begun to delete them already; this waits until they are gone.
      for link in links { group.addTask { try? await self.reap(link: link, pin: nil) } }
    }
    open = nil
  }

  /// Ready namespaces now.
  package var readyCount: Int { ready.count }

  /// Until the pool is full, or could not be filled.
  package func waitUntilReady() async { await refill?.value }

  private func check(_ sandboxID: String, _ stage: String) throws(PodNetworkError) {
    guard RunLayout.isSandboxID(sandboxID) else {
      throw PodNetworkError(code: .invalidID, stage: stage, detail: "a sandbox id has 64 lowercase hexadecimal digits")
    }
  }

  func answer(_ record: NetworkRecord) -> PodAddresses {
    PodAddresses(
      ipv4: record.ipv4, ipv6: record.ipv6, namespacePath: layout.pin(record.sandboxID), hostLink: record.hostLink)
  }

  // The pool of ready namespaces.

  private func takeReady(_ stage: String, _ path: String?) async throws(PodNetworkError) -> ReadyNamespace {
    if path == nil, let namespace = ready.popLast() { return namespace }
    do throws(SyscallError) {
      let made = try path.map { path throws(SyscallError) in try NetworkNamespace.open(path) }
      return try await ReadyNamespace.make(home: home, families: families, mtu: configuration.mtu, adopting: made)
    } catch {
      throw PodNetworkError(code: .kernel, stage: stage, detail: "make a network namespace: \(error)")
    }
  }

  var families: Set<IPAddress.Family> { Set(configuration.podCIDRs.map(\.address.family)) }

  /// One filler at a time, and it ends when the pool is full.
  func startRefill() {
    if refill != nil || ready.count >= configuration.poolSize { return }
    refill = Task { await self.fill() }
  }

  private func fill() async {
    defer { refill = nil }
    while !Task.isCancelled, open != nil, ready.count < configuration.poolSize {
      do {
        let namespace = try await ReadyNamespace.make(home: home, families: families, mtu: configuration.mtu)
        ready.append(namespace)
      } catch {
        // The next attach makes its own, and says so if it cannot.
        logger.warning("fill the pool of network namespaces: \(error)")
        return
      }
    }
  }

  // One pod.

  private func claim(
    _ sandboxID: String, _ hostLink: String, _ hostPorts: [HostPort], _ stage: String
  ) throws(PodNetworkError) -> NetworkRecord {
    guard let slot = open?.addresses.claim(), let addresses = open?.addresses else {
      throw PodNetworkError(
        code: .exhausted, stage: stage,
        detail: "all addresses of \(configuration.podCIDRs.map(\.description).joined(separator: ", ")) are in use; "
          + "remove pods or give the node a larger block")
    }
    let record = NetworkRecord(
      sandboxID: sandboxID, slot: slot, ipv4: addresses.addressIPv4(slot), ipv6: addresses.addressIPv6(slot),
      hostLink: hostLink, hostPorts: hostPorts)
    pods[sandboxID] = Pod(record: record, phase: .coming)
    return record
  }

  private func connect(_ record: NetworkRecord, _ namespace: ReadyNamespace) throws(SyscallError) {
    guard let open else { return }
    try namespace.inside.run(record.addresses.map { .addAddress(link: RouteRequest.peerIndex, $0) })
    var requests: [RouteRequest] = []
    for address in record.addresses {
      let source =
        address.family == .ipv4
        ? open.addresses.addressIPv4(AddressPool.nodeSlot) : open.addresses.addressIPv6(AddressPool.nodeSlot)
      guard let prefix = IPPrefix(address: address, length: address.bytes.count * 8) else { continue }
      requests += [
        .addNeighbour(link: namespace.hostLink.index, address, namespace.podAddress),
        .addRoute(link: namespace.hostLink.index, prefix, source: source),
      ]
    }
    try open.routes.run(requests)
  }

  /// Rules first, so that nothing is led to a link that is going; the record last, so that a crash in between is seen.
  func takeDown(_ sandboxID: String, _ stage: String) async throws(PodNetworkError) {
    let record = pods[sandboxID]?.record
    pods[sandboxID]?.phase = .going
    do throws(SyscallError) {
      if record?.hostPorts.isEmpty == false { try applyRules() }
      try await reap(link: record?.hostLink, pin: layout.pin(sandboxID))
      try Files.remove(layout.record(sandboxID))
    } catch {
      throw PodNetworkError(code: .kernel, stage: stage, detail: error.description)
    }
    if let record { open?.addresses.release(record.slot) }
    pods[sandboxID] = nil
  }

  // Host ports.

  private func checkHostPorts(_ wanted: [HostPort], _ stage: String) throws(PodNetworkError) {
    for (index, port) in wanted.enumerated() {
      if port.hostPort == 0 || port.containerPort == 0 {
        throw PodNetworkError(
          code: .configuration, stage: stage, detail: "host port \(port): 0 is no port; use 1 to 65535")
      }
      if let hostIP = port.hostIP, !families.contains(hostIP.family) || hostIP.isLoopback {
        throw PodNetworkError(
          code: .configuration, stage: stage,
          detail: "host port \(port.hostPort): host address \(hostIP) "
            + (hostIP.isLoopback
              ? "is loopback, from which no packet can be led to a pod" : "is of a family that pods do not have"))
      }
      let others = pods.values.flatMap { pod in pod.record.hostPorts.map { (pod.record.sandboxID, $0) } }
      if let (owner, _) = others.first(where: { $0.1.collides(with: port) }) {
        throw PodNetworkError(
          code: .hostPortTaken, stage: stage,
          detail: "host port \(port.hostPort)/\(port.transport) is held by pod \(owner)")
      }
      if wanted[..<index].contains(where: { $0.collides(with: port) }) {
        throw PodNetworkError(
          code: .hostPortTaken, stage: stage, detail: "host port \(port.hostPort)/\(port.transport) is asked for twice")
      }
    }
  }

  /// Makes the kernel's rules fit the pods that are being made or whole.
  func applyRules() throws(SyscallError) {
    guard let current = open?.table, let transactions = open?.transactions else { return }
    let wanted = wantedTable()
    let messages = Table.difference(from: current, to: wanted)
    if messages.isEmpty { return }
    do throws(SyscallError) {
      try Self.run(messages, transactions)
    } catch {
      // Somebody flushed the machine's rules: ours are made again.
      if error.errno != Errno.noEntry { throw error }
      logger.warning("\(error): table inet \(PodRules.tableName) was changed by somebody else; it is made again")
      try Self.run(wanted.replacing(), transactions)
    }
    open?.table = wanted
  }

  /// Pods that are being taken down are left out; those that are being made are in.
  func wantedTable() -> Table {
    rules.table(
      pods.values.filter { $0.phase != .going }.flatMap { pod in
        pod.record.hostPorts.map { PodRules.Forward(port: $0, addresses: pod.record.addresses) }
      })
  }

  static func run(_ messages: [Message], _ transactions: NftTransactions) throws(SyscallError) {
    do throws(NftRefusal) {
      try transactions.run(Program.encode(messages))
    } catch {
      guard let index = error.message, messages.indices.contains(index) else { throw error.cause }
      throw SyscallError(
        call: "nf_tables", subject: messages[index].description(element: error.element), errno: error.cause.errno)
    }
  }
}
