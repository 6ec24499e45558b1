internal import JSON
package import KubeClient
internal import KubeModel
package import Logging

/// Keeps a node known to the API server: registers it, says how it is, and renews its lease.
package actor NodeRegistrar {
  /// How often things are said. Kubernetes' own figures.
  package struct Settings: Sendable {
    package var leaseRenewal: Duration = .seconds(10)
    package var leaseSeconds: Int32 = 40
    /// A status that has not changed is said again after so long.
    package var statusRepeat: Duration = .seconds(300)
    /// Between tries while the server does not answer.
    package var retry: Duration = .seconds(1)
    /// So long a runtime that worked may be away, as when it is started anew: its pods go on meanwhile, and a node that is
    /// not ready has none that are.
    package var runtimeGrace: Duration = .seconds(30)

    package init() {}
  }

  private static let leaseNamespace = "kube-node-lease"

  private let client: KubeClient
  private let settings: Settings
  private let look: @Sendable () async -> (profile: NodeProfile, health: NodeHealth)
  private let logger: Logger
  private let changed: Signal
  private let recorder: EventRecorder
  private var lease: Lease?
  /// As the server has it.
  private var known: Node?
  private var saidAt: Duration?
  /// Since when the runtime does not answer, after it did.
  private var awaySince: Duration?
  private var hasFailed = false

  /// - Parameter look: reads how the node is.
  package init(
    cluster: Cluster, settings: Settings = Settings(), logger: Logger,
    look: @escaping @Sendable () async -> (profile: NodeProfile, health: NodeHealth)
  ) {
    (client, changed, recorder) = (cluster.client, cluster.nodeChanged, cluster.recorder)
    (self.settings, self.logger, self.look) = (settings, logger, look)
  }

  package func run() async {
    while !Task.isCancelled {
      var pause = settings.leaseRenewal
      do throws(KubeError) {
        if try await !round() { pause = settings.retry }
        if hasFailed { logger.info("the API server answers") }
        hasFailed = false
      } catch {
        if error.isCancelled || Task.isCancelled { return }
        if !hasFailed { logger.warning("node status: \(error); tried again until it goes through") }
        hasFailed = true
        pause = settings.retry
      }
      await changed.wait(until: client.clock.now() + pause, client.clock)
    }
  }

  /// One look, and all that must be said after it.
  ///
  /// - Returns: whether the node is well; if not, it is looked at again soon.
  @discardableResult
  package func round() async throws(KubeError) -> Bool {
    var (profile, health) = await look()
    let isWell = health.runtimeProblem == nil && !profile.addresses.isEmpty
    let nanoseconds = client.clock.wallNanoseconds()
    let now = Time(secondsSinceEpoch: nanoseconds / 1_000_000_000)
    let current: Node
    do throws(KubeError) {
      current = try await client.get(Node.self, name: profile.name)
    } catch {
      guard error.isNotFound else { throw error }
      if known != nil { logger.warning("node \(profile.name) was deleted: registered again") }
      current = try await register(profile.node(health, over: nil, now: now))
    }
    if isAwayForAMoment(health, current) {
      health.runtimeProblem = nil
      profile.runtimeVersion = current.status.nodeInfo.containerRuntimeVersion
    }
    try await say(profile.node(health, over: current, now: now), current)
    try await renewLease(current, MicroTime(microsecondsSinceEpoch: nanoseconds / 1000))
    return isWell
  }

  private func isAwayForAMoment(_ health: NodeHealth, _ current: Node) -> Bool {
    guard health.runtimeProblem != nil else {
      awaySince = nil
      return false
    }
    guard Self.isReady(current) else { return false }
    let since = awaySince ?? client.clock.now()
    awaySince = since
    return client.clock.now() - since < settings.runtimeGrace
  }

  private func register(_ node: Node) async throws(KubeError) -> Node {
    do throws(KubeError) {
      let made = try await client.create(node)
      logger.info("node \(node.metadata.name ?? ""): registered")
      (known, saidAt) = (nil, nil)
      recorder.record(made, .normal, reason: "Starting", "Starting kubelet.")
      return made
    } catch {
      guard error.isAlreadyExists else { throw error }
      return try await client.get(Node.self, name: node.metadata.name ?? "")
    }
  }

  private func say(_ wanted: Node, _ current: Node) async throws(KubeError) {
    var patch = JSONObject()
    if wanted.metadata.labels != current.metadata.labels {
      patch["metadata"] = ["labels": JSONValue(wanted.metadata.labels)]
    }
    if wanted.spec != current.spec { patch["spec"] = wanted.spec.json }
    if !patch.isEmpty {
      let _: Node = try await client.patch(name: wanted.metadata.name ?? "", .merge(.object(patch)))
    }
    let isDue = saidAt.map { client.clock.now() - $0 >= settings.statusRepeat } ?? true
    guard isDue || !wanted.says(current) else { return }
    let wasReady = Self.isReady(known ?? current)
    known = try await client.patch(
      name: wanted.metadata.name ?? "", .merge(["status": wanted.status.json]), subresource: "status")
    saidAt = client.clock.now()
    guard Self.isReady(wanted) != wasReady else { return }
    let reason = Self.isReady(wanted) ? "NodeReady" : "NodeNotReady"
    recorder.record(
      known ?? wanted, .normal, reason: reason, "Node \(wanted.metadata.name ?? "") status is now: \(reason)")
  }

  private static func isReady(_ node: Node) -> Bool {
    node.status.conditions.contains { $0.type == "Ready" && $0.status == "True" }
  }

  private func renewLease(_ node: Node, _ now: MicroTime) async throws(KubeError) {
    let name = node.metadata.name ?? ""
    if var held = lease {
      held.spec.renewTime = now
      do throws(KubeError) {
        lease = try await client.update(held)
        return
      } catch {
        lease = nil
        guard error.isConflict || error.isNotFound else { throw error }
      }
    }
    do throws(KubeError) {
      var found: Lease = try await client.get(name: name, namespace: Self.leaseNamespace)
      fill(&found, node, now)
      lease = try await client.update(found)
    } catch {
      guard error.isNotFound else { throw error }
      var new = Lease()
      (new.metadata.name, new.metadata.namespace) = (name, Self.leaseNamespace)
      fill(&new, node, now)
      lease = try await client.create(new)
    }
  }

  private func fill(_ lease: inout Lease, _ node: Node, _ now: MicroTime) {
    lease.spec.holderIdentity = node.metadata.name
    lease.spec.leaseDurationSeconds = settings.leaseSeconds
    lease.spec.renewTime = now
    guard let uid = node.metadata.uid, lease.metadata.ownerReferences.first?.uid != uid else { return }
    var owner = OwnerReference()
    (owner.apiVersion, owner.kind, owner.name, owner.uid) = ("v1", "Node", node.metadata.name ?? "", uid)
    lease.metadata.ownerReferences = [owner]
  }
}
