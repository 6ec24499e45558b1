package import KubeModel
package import Logging
internal import Synchronization

/// What to do about a lease that one of several processes holds. A pure value.
///
/// Whether a lease has run out is told by how long it has not changed on this process's own clock: clocks of processes
/// differ, and the times in the lease are the holder's.
package struct LeaseWatch: Sendable {
  package enum Step: Sendable, Hashable {
    case create(Lease)
    /// Take it over, or renew it.
    case write(Lease)
    case wait(holder: String)
  }
  private var seen: (holder: String, renewal: MicroTime?, at: Duration)?

  package init() {}

  /// - Parameters:
  ///   - lease: as the server has it; nil where there is none.
  ///   - wall: what to write as the time of renewal.
  package mutating func step(
    _ lease: Lease?, name: String, namespace: String, identity: String, leaseSeconds: Int32, now: Duration,
    wall: MicroTime
  ) -> Step {
    guard var lease else {
      var new = Lease()
      (new.metadata.name, new.metadata.namespace) = (name, namespace)
      (new.spec.holderIdentity, new.spec.leaseDurationSeconds) = (identity, leaseSeconds)
      (new.spec.acquireTime, new.spec.renewTime, new.spec.leaseTransitions) = (wall, wall, 0)
      return .create(new)
    }
    let holder = lease.spec.holderIdentity ?? ""
    if seen?.holder != holder || seen?.renewal != lease.spec.renewTime { seen = (holder, lease.spec.renewTime, now) }
    if holder != identity {
      let term = Duration.seconds(lease.spec.leaseDurationSeconds ?? leaseSeconds)
      if !holder.isEmpty, let seen, now - seen.at < term { return .wait(holder: holder) }
      lease.spec.holderIdentity = identity
      lease.spec.acquireTime = wall
      lease.spec.leaseTransitions = (lease.spec.leaseTransitions ?? 0) &+ 1
    }
    lease.spec.leaseDurationSeconds = leaseSeconds
    lease.spec.renewTime = wall
    return .write(lease)
  }
}

/// Lets one of several processes do a work at a time, by a Lease.
package struct LeaderElection: Sendable {
  package struct Times: Sendable {
    /// Seconds without renewal after which others may take the lease.
    package var leaseSeconds: Int32 = 15
    /// Seconds without a successful renewal after which the holder stops its work: less than the lease, so that it has
    /// stopped before another begins.
    package var renewalSeconds: Int32 = 10
    package var retrySeconds: Int32 = 2

    package init() {}
  }
  package struct Lost: Error, CustomStringConvertible {
    package let description: String
  }

  private final class Watch: Sendable {
    let state = Mutex(LeaseWatch())
  }

  private let client: KubeClient
  private let namespace: String
  private let name: String
  private let identity: String
  private let times: Times
  private let logger: Logger

  /// - Parameter identity: of this process, unlike any other's.
  package init(
    client: KubeClient, namespace: String = "kube-system", name: String, identity: String, times: Times = Times(),
    logger: Logger = Logger(label: "martlet.lease")
  ) {
    (self.client, self.namespace, self.name) = (client, namespace, name)
    (self.identity, self.times, self.logger) = (identity, times, logger)
  }

  /// Waits for the lease and runs `body` as long as it is held, until cancelled.
  ///
  /// The lease is given up when this ends, so that another need not wait for its time.
  /// - Throws: `CancellationError`, what `body` throws, or `Lost`.
  package func run(_ body: @escaping @Sendable () async throws -> Void) async throws {
    let watch = Watch()
    while true {
      try Task.checkCancellation()
      guard await claim(watch) else {
        try await client.clock.sleep(for: .seconds(times.retrySeconds))
        continue
      }
      logger.info("\(name): \(identity) leads")
      do {
        try await lead(watch, body)
      } catch let lost as Lost {
        // Its state is of a time that is over: whoever runs this begins anew.
        throw lost
      } catch {
        await giveUp()
        throw error
      }
      await giveUp()
      return
    }
  }

  private func lead(_ watch: Watch, _ body: @escaping @Sendable () async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask { try await body() }
      defer { group.cancelAll() }
      group.addTask { try await self.keep(watch) }
      try await group.next()
    }
  }

  private func keep(_ watch: Watch) async throws {
    var renewed = client.clock.now()
    while true {
      try await client.clock.sleep(for: .seconds(times.retrySeconds))
      if await claim(watch) {
        renewed = client.clock.now()
      } else if client.clock.now() - renewed > .seconds(times.renewalSeconds) {
        throw Lost(description: "the lease was not renewed for \(times.renewalSeconds) s; another may lead")
      }
    }
  }

  /// - Returns: whether the lease is this process's now.
  private func claim(_ watch: Watch) async -> Bool {
    do throws(KubeError) {
      var lease: Lease?
      do throws(KubeError) {
        lease = try await client.get(name: name, namespace: namespace)
      } catch {
        guard error.isNotFound else { throw error }
      }
      let (now, wall) = (
        client.clock.now(), MicroTime(microsecondsSinceEpoch: client.clock.wallNanoseconds() / 1000)
      )
      let found = lease
      let step = watch.state.withLock {
        $0.step(
          found, name: name, namespace: namespace, identity: identity, leaseSeconds: times.leaseSeconds, now: now,
          wall: wall)
      }
      switch step {
      case .create(let lease): _ = try await client.create(lease)
      case .write(let lease): _ = try await client.update(lease)
      case .wait: return false
      }
      return true
    } catch {
      // Another was faster, or the server does not answer: both are no lease.
      if !error.isConflict, !error.isAlreadyExists, !error.isCancelled { logger.warning("\(name): \(error)") }
      return false
    }
  }

  private func giveUp() async {
    // Also where this task is cancelled: the next leader waits for it.
    let (client, name, namespace, identity) = (client, name, namespace, identity)
    await Task.detached {
      guard var lease: Lease = try? await client.get(name: name, namespace: namespace),
        lease.spec.holderIdentity == identity
      else { return }
      lease.spec.holderIdentity = ""
      lease.spec.leaseDurationSeconds = 1
      // One that cannot be given up runs out.
      _ = try? await client.update(lease)
    }.value
  }
}
