internal import KubeClient
internal import KubeModel
internal import Logging
internal import Synchronization

/// Tells the API server how pods stand: the newest of each, again and again until it is known there, and takes away the
/// pods that are gone.
final class StatusReporter: Sendable {
  private struct Entry {
    var report: PodReport?
    /// The pod is gone from this node: it is deleted once its last status is told.
    var removal: Pod?
    /// As the server answered last; it may be newer than what the informer has.
    var told: (revision: Int64, status: PodStatus)?
    /// Counts what is to be told, and what the server knows.
    var wanted: UInt64 = 0
    var known: UInt64 = 0
    /// Raised whenever `known` grows.
    var waiters: [Signal] = []
  }
  private let entries = Mutex<[String: Entry]>([:])
  private let queue: WorkQueue<String>
  private let client: KubeClient
  private let pods: Informer<Pod>
  private let hostIPs: @Sendable () -> [String]
  private let logger: Logger
  /// Statuses sent at a time.
  private static let workers = 4

  init(client: KubeClient, pods: Informer<Pod>, logger: Logger, hostIPs: @escaping @Sendable () -> [String]) {
    (self.client, self.pods, self.hostIPs, self.logger) = (client, pods, hostIPs, logger)
    var limits = WorkQueue<String>.Limits()
    limits.firstRetry = .milliseconds(100)
    limits.retryMax = .seconds(10)
    queue = WorkQueue(name: "pod status", limits: limits, clock: client.clock, logger: logger)
  }

  /// The newest of this pod; replaces what is not told yet.
  func report(_ report: PodReport) {
    let uid = report.pod.metadata.uid ?? ""
    entries.withLock { entries in
      entries[uid, default: Entry()].report = report
      entries[uid]?.wanted += 1
    }
    queue.add(uid)
  }

  /// The pod has left this node: when its last status is told it is deleted for good.
  func remove(_ pod: Pod) {
    let uid = pod.metadata.uid ?? ""
    entries.withLock { $0[uid, default: Entry()].removal = pod }
    queue.add(uid)
  }

  /// The pod is no concern of anybody any more.
  func forget(_ uid: String) {
    let waiters = entries.withLock { $0.removeValue(forKey: uid)?.waiters ?? [] }
    for waiter in waiters { waiter.raise() }
  }

  private func setKnown(_ uid: String, _ count: UInt64) {
    let waiters = entries.withLock { entries -> [Signal] in
      entries[uid]?.known = count
      return entries[uid]?.waiters ?? []
    }
    for waiter in waiters { waiter.raise() }
  }

  /// The server's copy has changed: where another has written what is ours to say, it is said again.
  func observe(_ uid: String) {
    if entries.withLock({ $0[uid] != nil }) { queue.add(uid) }
  }

  /// Waits until the server knows what was reported until now.
  /// - Returns: false where `limit` passed before.
  @discardableResult
  func flush(_ uid: String, atMost limit: Duration) async -> Bool {
    guard let wanted = entries.withLock({ $0[uid]?.wanted }) else { return true }
    let deadline = client.clock.now() + limit
    let signal = Signal()
    entries.withLock { $0[uid]?.waiters.append(signal) }
    defer { entries.withLock { $0[uid]?.waiters.removeAll { $0 === signal } } }
    while client.clock.now() < deadline, !Task.isCancelled {
      if entries.withLock({ ($0[uid]?.known ?? .max) >= wanted }) { return true }
      await signal.wait(until: deadline, client.clock)
    }
    return false
  }

  func run() async throws {
    try await queue.run(workers: Self.workers) { uid in try await self.tell(uid) }
  }

  // MARK: one pod

  private func tell(_ uid: String) async throws -> WorkOutcome {
    guard let entry = entries.withLock({ $0[uid] }) else { return .done }
    guard let pod = entry.removal ?? entry.report?.pod else { return .done }
    do throws(KubeError) {
      if let report = entry.report { try await patch(uid, report, entry.told) }
      setKnown(uid, entry.wanted)
      guard entry.removal != nil else { return .done }
      try await client.delete(
        Pod.self, name: pod.metadata.name ?? "", namespace: pod.metadata.namespace, graceSeconds: 0, uid: uid)
      forget(uid)
      logger.info("pod \(ObjectKey(pod)): deleted")
    } catch {
      // Deleted, or another pod of its name: nobody waits for this one's status.
      if error.isNotFound || isForeign(pod, uid, error) {
        if entry.removal != nil { forget(uid) } else { setKnown(uid, entry.wanted) }
        return .done
      }
      throw error
    }
    return .done
  }

  /// A conflict with a pod that has the name and another uid.
  private func isForeign(_ pod: Pod, _ uid: String, _ error: KubeError) -> Bool {
    guard error.isConflict else { return false }
    let current = pods.get(ObjectKey(pod))
    return current?.metadata.uid != uid
  }

  private func patch(_ uid: String, _ report: PodReport, _ told: (revision: Int64, status: PodStatus)?)
    async throws(KubeError)
  {
    let cached = pods.get(ObjectKey(report.pod)).flatMap { $0.metadata.uid == uid ? $0 : nil }
    var old = cached?.status ?? report.pod.status
    var revision = Self.revision(cached?.metadata.resourceVersion)
    if let told, told.revision > revision { (revision, old) = told }
    let next = report.status(hostIPs: hostIPs()).continuing(
      old, gates: report.pod.spec.readinessGates, isDeleting: report.machine.isDeleting,
      now: Time(secondsSinceEpoch: client.clock.wallNanoseconds() / 1_000_000_000))
    // Lists are replaced as a whole: where others write conditions, too, only what they wrote must be there.
    let guarded = old.hasForeignConditions && revision > 0 ? "\(revision)" : nil
    guard let document = next.patch(from: old, uid: uid, revision: guarded) else { return }
    let answer = try await client.patch(
      Pod.self, name: report.pod.metadata.name ?? "", namespace: report.pod.metadata.namespace, .merge(document),
      subresource: "status")
    guard answer.metadata.uid == uid else { return }
    entries.withLock { entries in
      entries[uid]?.told = (Self.revision(answer.metadata.resourceVersion), answer.status)
    }
  }

  /// Revisions grow; this agent compares those of one pod with each other only.
  private static func revision(_ text: String?) -> Int64 { text.flatMap { Int64($0) } ?? 0 }
}
