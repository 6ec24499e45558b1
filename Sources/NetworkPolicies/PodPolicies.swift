package import Dataplane
package import KubeClient
package import KubeModel
package import Logging
internal import Kernel

/// Keeps the NetworkPolicies of an API server in force for the pods of this node.
///
/// As long as there is no policy, neither the cluster's pods nor its namespaces are followed.
package actor PodPolicies {
  package struct Settings: Sendable {
    /// How long a pod that starts waits for the policies to be known; then its start fails, and is tried again.
    package var knowledgeMax: Duration = .seconds(30)
    /// Before the kernel is asked again for what it refused.
    package var retry: Duration = .seconds(1)
    /// A pod of which the API server has not told addresses for so long is forgotten.
    package var startMax: Duration = .seconds(300)

    package init() {}
  }
  package struct NotInForce: Error, CustomStringConvertible {
    package let description: String
  }
  private struct Starting {
    var pod: PolicyPod
    var since: Duration
  }

  private let dataplane: Dataplane
  private let informers: Informers
  private let policies: Informer<NetworkPolicy>
  private var namespaces: Informer<Namespace>?
  private var pods: Informer<Pod>?
  private let nodeName: String
  private let clock: KubeClock
  private let settings: Settings
  private let logger: Logger
  private let changed = Signal()
  /// Pods of this node whose addresses the runtime told, until the API server tells them, too.
  private var starting: [String: Starting] = [:]
  private var told: [String: [String]] = [:]
  /// Passes asked for and done. A waiter gets the result of a pass that began after it came.
  private var asked: UInt64 = 0
  private var waiters: [(turn: UInt64, continuation: CheckedContinuation<String?, Never>)] = []
  private let client: KubeClient
  /// Policies are not for this node to see: others hold its pods to them, or nobody.
  private var isOff = false
  private var isStopped = false

  /// - Parameters:
  ///   - client: asked once whether policies may be seen; where not, they are left to others.
  ///   - informers: somebody else runs them; they must be allowed to see all pods and namespaces.
  package init(
    dataplane: Dataplane, client: KubeClient, informers: Informers, nodeName: String, clock: KubeClock = .continuous,
    settings: Settings = Settings(), logger: Logger
  ) {
    (self.dataplane, self.informers, self.nodeName) = (dataplane, informers, nodeName)
    self.client = client
    (self.clock, self.settings, self.logger) = (clock, settings, logger)
    policies = informers.informer(NetworkPolicy.self)
    let changed = changed
    policies.onChange { _ in changed.raise() }
  }

  /// Works until cancelled; the kernel keeps what is in force.
  package func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask {
        await self.policies.waitForSync(timeout: .seconds(1 << 30))
        self.changed.raise()
      }
      group.addTask { await self.learnWhetherAllowed() }
      group.addTask { await self.work() }
    }
    isStopped = true
    for waiter in waiters { waiter.continuation.resume(returning: "the node stops") }
    waiters = []
  }

  private func learnWhetherAllowed() async {
    while !Task.isCancelled {
      do throws(KubeError) {
        let _: KubeList<NetworkPolicy> = try await client.list(namespace: nil, ListOptions(limit: 1))
        return
      } catch {
        if error.isForbidden || error.isNotFound {
          isOff = true
          logger.warning("network policies are not held here, because they may not be seen: \(error)")
          return
        }
        try? await clock.sleep(for: settings.retry)
      }
    }
  }

  /// - Returns: false where policies are not known in time.
  private func know() async -> Bool {
    let deadline = clock.now() + settings.knowledgeMax
    while !isOff, clock.now() < deadline, !Task.isCancelled {
      if await policies.waitForSync(timeout: settings.retry) { return true }
    }
    return isOff
  }

  private func work() async {
    var isBehind = false
    while !Task.isCancelled {
      await changed.wait(until: isBehind ? clock.now() + settings.retry : nil, clock)
      guard !Task.isCancelled, policies.hasSynced else { continue }
      let turn = asked
      let failure = await pass()
      if let failure, !isBehind { logger.error("network policies: \(failure); tried again every \(settings.retry)") }
      isBehind = failure != nil
      for waiter in waiters where waiter.turn <= turn { waiter.continuation.resume(returning: failure) }
      waiters.removeAll { $0.turn <= turn }
    }
  }

  // MARK: one pass

  /// - Returns: why the policies are not in force.
  private func pass() async -> String? {
    let policies = policies.list()
    var table = PolicyTable()
    if !policies.isEmpty {
      guard await followCluster(), let pods, let namespaces else {
        return "the API server has not told of the cluster's pods and namespaces"
      }
      let all = self.pods(pods)
      var labels: [String: [String: String]] = [:]
      for namespace in namespaces.list() { labels[namespace.metadata.name ?? ""] = namespace.metadata.labels }
      var translation = PolicyTranslation(policies: policies, namespaces: labels, pods: all)
      for pod in all.sorted(by: { $0.uid < $1.uid }) where pod.nodeName == nodeName { translation.add(pod) }
      tell(translation.problems)
      table = translation.table
    }
    do throws(DataplaneError) {
      try await dataplane.apply(table)
      return nil
    } catch {
      return "\(error)"
    }
  }

  /// Follows pods and namespaces from the first policy on.
  /// - Returns: whether they are known.
  private func followCluster() async -> Bool {
    if pods == nil {
      let (pods, namespaces) = (informers.informer(Pod.self), informers.informer(Namespace.self))
      let changed = changed
      pods.onChange { event in
        // Most changes of pods do not concern policies.
        if case .updated(let old, let new) = event, PolicyPod(old) == PolicyPod(new) { return }
        changed.raise()
      }
      namespaces.onChange { event in
        if case .updated(let old, let new) = event, old.metadata.labels == new.metadata.labels { return }
        changed.raise()
      }
      (self.pods, self.namespaces) = (pods, namespaces)
    }
    guard let pods, let namespaces else { return false }
    guard await pods.waitForSync(timeout: settings.knowledgeMax) else { return false }
    return await namespaces.waitForSync(timeout: settings.knowledgeMax)
  }

  /// All pods of the cluster; those that start here with the addresses that the runtime gave them.
  private func pods(_ informer: Informer<Pod>) -> [PolicyPod] {
    var found: [PolicyPod] = []
    var known: Set<String> = []
    let now = clock.now()
    for pod in informer.list() {
      guard var seen = PolicyPod(pod) else { continue }
      known.insert(seen.uid)
      if let start = starting[seen.uid] {
        if Set(start.pod.addresses).isSubset(of: seen.addresses) {
          starting[seen.uid] = nil
        } else {
          seen.addresses = start.pod.addresses
        }
      }
      found.append(seen)
    }
    for (uid, start) in starting where !known.contains(uid) {
      if now - start.since > settings.startMax { starting[uid] = nil } else { found.append(start.pod) }
    }
    return found
  }

  private func tell(_ problems: [String: [String]]) {
    for (policy, texts) in problems.sorted(by: { $0.key < $1.key }) where told[policy] != texts {
      for text in texts { logger.warning("network policy \(policy): \(text)") }
    }
    told = problems
  }

  // MARK: pods that start

  /// Returns when what policies say of a pod that starts here is in force.
  /// - Throws: `NotInForce`; the pod must not start then.
  package func isolate(_ pod: Pod, addresses: [String]) async throws {
    guard let mine = PolicyPod(pod, addresses: addresses), !mine.addresses.isEmpty else { return }
    guard await know() else {
      throw NotInForce(description: "the API server has not told of its network policies; the pod waits for them")
    }
    if isOff { return }
    let now = clock.now()
    starting = starting.filter { now - $0.value.since <= settings.startMax }
    starting[mine.uid] = Starting(pod: mine, since: now)
    // Where nothing is to be kept apart nothing is waited for.
    if policies.count == 0 { return }
    if let failure = await nextPass() { throw NotInForce(description: "network policies are not in force: \(failure)") }
  }

  /// Returns when the policies that are known now are in force, or it is known that they cannot be.
  package func settle() async {
    guard await know() else {
      logger.error("network policies are not known after \(settings.knowledgeMax)")
      return
    }
    if isOff { return }
    _ = await nextPass()
  }

  private func nextPass() async -> String? {
    if isStopped { return "the node stops" }
    asked += 1
    let turn = asked
    changed.raise()
    return await withCheckedContinuation { waiters.append((turn, $0)) }
  }
}
