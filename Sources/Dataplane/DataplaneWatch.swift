internal import Kernel
internal import Logging

extension Dataplane {
  /// After a mended change the next one is mended this much later, doubled each time, up to `restMax`: two programs that
  /// undo each other must not keep the machine busy.
  private static let restMin = Duration.milliseconds(50)
  private static let restMax = Duration.seconds(30)
  /// So long without a change, and the next one is mended at once.
  private static let peace = Duration.seconds(60)

  /// Watches the kernel's notices until cancelled: what another program changes in our table is mended, and told.
  ///
  /// - Throws: `DataplaneError` where the kernel would not tell.
  nonisolated package func watch(
    _ report: @escaping @Sendable (OwnershipEvent) -> Void
  ) async throws(DataplaneError) {
    try await listen()
    // What happened before anybody listened.
    if let event = await look(culprit: nil) { report(event) }
    let clock = ContinuousClock()
    var rest = Self.restMin
    var last: ContinuousClock.Instant?
    while !Task.isCancelled {
      let culprit: String?
      switch try await next() {
      case .changed(let by): culprit = by
      case .lost, .timedOut: culprit = nil
      case .interrupted:
        if await !takeMissed() { continue }
        culprit = nil
      }
      if let last, clock.now - last < Self.peace {
        try? await clock.sleep(for: rest)
        rest = min(rest * 2, Self.restMax)
      } else {
        rest = Self.restMin
      }
      guard let event = await look(culprit: culprit) else { continue }
      last = clock.now
      report(event)
    }
    await leave()
  }

  private func listen() throws(DataplaneError) {
    do throws(SyscallError) {
      try events.listen(true)
      isWatched = true
    } catch {
      throw DataplaneError(stage: "watch table inet \(ServiceLayout.tableName)", detail: error.description)
    }
  }

  private func leave() {
    isWatched = false
    try? events.listen(false)
  }

  private func takeMissed() -> Bool {
    defer { mayHaveMissed = false }
    return mayHaveMissed
  }

  nonisolated private func next() async throws(DataplaneError) -> NftEvents.Wake {
    let events = self.events
    let own = transactions.port
    let result = await withTaskCancellationHandler {
      await onFreshThread { () -> Result<NftEvents.Wake, SyscallError> in
        Result { () throws(SyscallError) in try events.wait(own: own, timeoutMilliseconds: -1) }
      }
    } onCancel: {
      events.interrupt()
    }
    do throws(SyscallError) {
      return try result.get()
    } catch {
      throw DataplaneError(stage: "watch table inet \(ServiceLayout.tableName)", detail: error.description)
    }
  }

  /// Nil: everything is as it should be.
  private func look(culprit: String?) -> OwnershipEvent? {
    do throws(DataplaneError) {
      let verification = try mend()
      if verification.isIntact { return nil }
      logger.warning(
        "table inet \(ServiceLayout.tableName) was changed by \(culprit ?? "somebody else") and is mended: \(verification.count) differences, first: \(verification.differences.first ?? "")"
      )
      return OwnershipEvent(verification: verification, failure: nil, culprit: culprit)
    } catch {
      mayHaveMissed = true
      logger.error("mend table inet \(ServiceLayout.tableName): \(error)")
      return OwnershipEvent(verification: Verification(), failure: "\(error)", culprit: culprit)
    }
  }
}
