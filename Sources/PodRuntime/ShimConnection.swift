internal import Kernel
internal import Synchronization

/// The connection to one shim: requests with numbers, their answers, and news in between.
final class ShimConnection: Sendable {
  struct Answer: Sendable {
    var message: ShimMessage
    var items: [ShimMessage] = []
    /// Of a request to exec, already known to the connection, so that its exit is not missed.
    var exec: ExecProcess?
  }

  private struct Pending {
    let request: String
    let isExec: Bool
    let deadline: Int64
    /// nil while nobody waits yet.
    var continuation: CheckedContinuation<Result<Answer, ShimError>, Never>?
    var items: [ShimMessage] = []
  }

  /// A request that was sent and that somebody will wait for.
  struct Asked: Sendable {
    fileprivate let number: UInt64
  }

  private struct State {
    var pending: [UInt64: Pending] = [:]
    /// What came before anybody waited for it.
    var early: [UInt64: Result<Answer, ShimError>] = [:]
    var lastNumber: UInt64 = 0
    var execs: [UInt64: ExecProcess] = [:]
    var token: UInt64?
    var isClosed = false
    /// A task looks at the deadlines.
    var isWatched = false
    /// The greeting came before anybody asked for it.
    var hello: ShimMessage?

    /// Takes a request out; where nobody waits for it yet, the result lies ready for whoever will.
    mutating func take(_ number: UInt64, _ result: Result<Answer, ShimError>) -> Pending? {
      guard let taken = pending.removeValue(forKey: number) else { return nil }
      if taken.continuation == nil { early[number] = result }
      return taken
    }
  }

  private let channel: ShimChannel
  private let state = Mutex(State())
  private let news: AsyncStream<ShimEvent>.Continuation
  let events: AsyncStream<ShimEvent>

  /// How long an answer may take: a plan may wait for a slow disk, nothing else waits for anything.
  static let startSecondsMax = 120.0
  static let answerSecondsMax = 30.0
  private static let helloNumber: UInt64 = 0

  init(_ channel: ShimChannel) throws(SyscallError) {
    self.channel = channel
    (events, news) = AsyncStream.makeStream(of: ShimEvent.self, bufferingPolicy: .bufferingOldest(Shim.eventsMax))
    let token = try ShimReactor.shared.watch(channel) { [weak self] in self?.drain() }
    state.withLock { $0.token = token }
  }

  deinit {
    if let token = state.withLock({ $0.token }) { ShimReactor.shared.forget(channel, token: token) }
    news.finish()
  }

  /// Sends the packet that a new shim starts with.
  func configure(_ bytes: [UInt8], descriptors: [CInt]) throws(SyscallError) {
    try channel.send(bytes, descriptors: descriptors)
  }

  /// The shim's greeting, or what went wrong at its start.
  func hello() async throws(ShimError) -> ShimMessage {
    let early = state.withLock { $0.hello.take() }
    if let early { return early }
    return try await wait(request: "start", isExec: false, secondsMax: Self.answerSecondsMax, number: Self.helloNumber)
    {}
    .message
  }

  /// Sends a request and waits for its answer. The descriptors stay the caller's.
  /// - Parameter following: bytes of its packet after the request itself.
  func ask(
    _ request: ShimRequest, following: [UInt8] = [], descriptors: [CInt] = [],
    secondsMax: Double = ShimConnection.answerSecondsMax
  ) async throws(ShimError) -> Answer {
    let number = state.withLock { state in
      state.lastNumber += 1
      return state.lastNumber
    }
    let answer = try await wait(
      request: request.kind.name, isExec: request.kind == .exec, secondsMax: secondsMax, number: number
    ) { () throws(SyscallError) in
      try self.channel.send(request.encoded(number: number) + following, descriptors: descriptors)
    }
    if answer.message.errno != 0, answer.message.index == ShimMessage.noIndex {
      throw .refused(request: request.kind.name, subject: request.id, errno: answer.message.errno)
    }
    return answer
  }

  private func wait(
    request: String, isExec: Bool, secondsMax: Double, number: UInt64, send: () throws(SyscallError) -> Void
  ) async throws(ShimError) -> Answer {
    let deadline = SystemClock.bootNanoseconds + Int64(secondsMax * 1e9)
    let result: Result<Answer, ShimError> = await withCheckedContinuation { continuation in
      let early: Result<Answer, ShimError>? = state.withLock { state in
        if let hello = state.hello, number == Self.helloNumber { return .success(Answer(message: hello)) }
        if state.isClosed { return .failure(.disconnected(request: request)) }
        state.pending[number] = Pending(
          request: request, isExec: isExec, deadline: deadline, continuation: continuation)
        return nil
      }
      if let early { return continuation.resume(returning: early) }
      watchDeadlines()
      do throws(SyscallError) { try send() } catch {
        fail(number, error.errno == Errno.brokenPipe ? .disconnected(request: request) : .call(error))
      }
    }
    return try result.get()
  }

  /// Sends a request whose answer `finish` waits for, which has to be called.
  func begin(_ request: ShimRequest) throws(ShimError) -> Asked {
    let deadline = SystemClock.bootNanoseconds + Int64(Self.answerSecondsMax * 1e9)
    let number: UInt64? = state.withLock { state in
      if state.isClosed { return nil }
      state.lastNumber += 1
      state.pending[state.lastNumber] = Pending(request: request.kind.name, isExec: false, deadline: deadline)
      return state.lastNumber
    }
    guard let number else { throw .disconnected(request: request.kind.name) }
    watchDeadlines()
    do throws(SyscallError) {
      try channel.send(request.encoded(number: number))
    } catch {
      state.withLock { _ = $0.pending.removeValue(forKey: number) }
      throw error.errno == Errno.brokenPipe ? .disconnected(request: request.kind.name) : .call(error)
    }
    return Asked(number: number)
  }

  func finish(_ asked: Asked) async throws(ShimError) -> Answer {
    let result: Result<Answer, ShimError> = await withCheckedContinuation { continuation in
      let early: Result<Answer, ShimError>? = state.withLock { state in
        if let early = state.early.removeValue(forKey: asked.number) { return early }
        // Neither: it was waited for before, which has its result.
        if state.pending[asked.number] == nil { return .failure(.disconnected(request: "forget")) }
        state.pending[asked.number]?.continuation = continuation
        return nil
      }
      if let early { continuation.resume(returning: early) }
    }
    let answer = try result.get()
    if answer.message.errno != 0 {
      throw .refused(request: "forget", subject: answer.message.id, errno: answer.message.errno)
    }
    return answer
  }

  /// Sends what needs no answer and gets none.
  func tell(
    _ request: ShimRequest, following: [UInt8] = [], descriptors: [CInt] = []
  ) throws(SyscallError) {
    try channel.send(request.encoded(number: 0) + following, descriptors: descriptors)
  }

  /// How late a deadline may be seen: a timer for each request would cost every request more than it costs by itself.
  private static let deadlineSecondsStep: Int64 = 5

  /// One task a connection looks at the deadlines while there are any.
  private func watchDeadlines() {
    let starts = state.withLock { state in
      defer { state.isWatched = true }
      return !state.isWatched
    }
    guard starts else { return }
    // Without a parent: it ends by itself at the first look at which nothing is pending, or with the connection.
    Task.detached { [weak self] in
      while true {
        try? await Task.sleep(for: .seconds(Self.deadlineSecondsStep))
        guard let self, self.expire() else { return }
      }
    }
  }

  /// Fails what is over its time. Whether anything is still pending.
  private func expire() -> Bool {
    let now = SystemClock.bootNanoseconds
    let (late, isPending) = state.withLock { state in
      let late = state.pending.filter { $0.value.deadline <= now }
      for (number, entry) in late { _ = state.take(number, .failure(Self.tooLate(entry))) }
      state.isWatched = !state.pending.isEmpty
      return (Array(late.values), state.isWatched)
    }
    for entry in late { entry.continuation?.resume(returning: .failure(Self.tooLate(entry))) }
    return isPending
  }

  private static func tooLate(_ entry: Pending) -> ShimError {
    .refused(request: entry.request, subject: "in time", errno: Errno.timedOut)
  }

  private func fail(_ number: UInt64, _ error: ShimError) {
    let pending = state.withLock { $0.pending.removeValue(forKey: number) }
    pending?.continuation?.resume(returning: .failure(error))
  }

  // MARK: On the reactor's thread

  private func drain() {
    while true {
      guard let packet = try? channel.receive() else { return }
      if packet.bytes.isEmpty {
        closeDescriptors(packet.descriptors)
        return close()
      }
      var descriptor = packet.descriptors.first
      closeDescriptors(Array(packet.descriptors.dropFirst()))
      for start in stride(from: 0, to: packet.bytes.count, by: ShimMessage.bytes) {
        let end = min(start + ShimMessage.bytes, packet.bytes.count)
        if let message = ShimMessage(packet.bytes[start..<end]) { take(message, &descriptor) }
      }
      if let descriptor { closeDescriptors([descriptor]) }
    }
  }

  private func take(_ message: ShimMessage, _ descriptor: inout CInt?) {
    switch message.kind {
    case .hello: takeHello(message)
    case .answer: takeAnswer(message, &descriptor)
    case .item: state.withLock { $0.pending[message.number]?.items.append(message) }
    case .exited: news.yield(.exited(containerID: message.id, message.exit))
    case .execExited:
      let exec = state.withLock { $0.execs.removeValue(forKey: message.handle) }
      exec?.ended(.success(message))
    }
  }

  private func takeHello(_ message: ShimMessage) {
    let pending = state.withLock { state in
      let pending = state.pending.removeValue(forKey: Self.helloNumber)
      if pending == nil { state.hello = message }
      return pending
    }
    pending?.continuation?.resume(returning: .success(Answer(message: message)))
  }

  private func takeAnswer(_ message: ShimMessage, _ descriptor: inout CInt?) {
    let terminal = descriptor.take()
    let (pending, exec) = state.withLock { state -> (Pending?, ExecProcess?) in
      guard let pending = state.take(message.number, .success(Answer(message: message))) else { return (nil, nil) }
      guard pending.isExec, message.errno == 0 else { return (pending, nil) }
      let exec = ExecProcess(
        processID: message.processID, handle: message.handle, terminal: terminal, connection: self)
      state.execs[message.handle] = exec
      return (pending, exec)
    }
    if exec == nil, let terminal { closeDescriptors([terminal]) }
    pending?.continuation?.resume(
      returning: .success(Answer(message: message, items: pending?.items ?? [], exec: exec)))
  }

  private func close() {
    let (pending, execs, token) = state.withLock { state in
      defer {
        state.isClosed = true
        for (number, entry) in state.pending {
          _ = state.take(number, .failure(.disconnected(request: entry.request)))
        }
        state.execs = [:]
        state.token = nil
      }
      return (state.pending, state.execs, state.token)
    }
    if let token { ShimReactor.shared.forget(channel, token: token) }
    for entry in pending.values {
      entry.continuation?.resume(returning: .failure(.disconnected(request: entry.request)))
    }
    for exec in execs.values { exec.ended(.failure(.disconnected(request: "exec"))) }
    news.yield(.disconnected)
    news.finish()
  }
}
