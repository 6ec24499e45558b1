import Kernel
import Synchronization

/// Keeps processes running: started, started again when they end, with growing pauses, and stopped together.
///
/// They end with this process, also where it is killed: each gets SIGTERM when the thread that started it ends.
struct Supervisor: Sendable {
  /// Between the end of a process and its next start, at first and at most.
  static let pauseFirst = Duration.milliseconds(100)
  static let pauseMax = Duration.seconds(10)
  /// A process that ran this long starts again with the first pause.
  static let calmAfter = Duration.seconds(30)
  /// What processes get to end in order before they are killed.
  static let stopGrace = Duration.seconds(20)
  /// A log grows to this and is then kept once more as `.1`.
  static let logBytesMax: Int64 = 16 << 20
  static let logCheckEvery = Duration.seconds(30)

  enum Event: Equatable, Sendable {
    case started(String, processID: Int32)
    case ended(String, ExitStatus, againIn: Duration)
    case cannotStart(String, SyscallError, againIn: Duration)
  }

  let logDirectory: String
  let onEvent: @Sendable (Event) -> Void

  /// Runs a program until the task is cancelled; then stops it and returns when it is gone.
  func keep(name: String, program: String, arguments: [String]) async {
    var pause = Self.pauseFirst
    while !Task.isCancelled {
      let started = ContinuousClock.now
      let outcome = await once(name: name, program: program, arguments: arguments)
      if Task.isCancelled { return }
      if ContinuousClock.now - started > Self.calmAfter { pause = Self.pauseFirst }
      switch outcome {
      case .success(let status): onEvent(.ended(name, status, againIn: pause))
      case .failure(let error): onEvent(.cannotStart(name, error, againIn: pause))
      }
      // Cancelled: the loop's condition sees it.
      try? await Task.sleep(for: pause)
      pause = min(pause * 2, Self.pauseMax)
    }
  }

  /// Bounds the logs; until the task is cancelled.
  func trimLogs(of names: [String]) async {
    while !Task.isCancelled {
      try? await Task.sleep(for: Self.logCheckEvery)
      for name in names {
        let path = logPath(name)
        guard let status = try? Files.status(path), status.sizeBytes > Self.logBytesMax else { continue }
        do throws(SyscallError) {
          try Files.writeAtomically("\(path).1", try Files.read(path, maxBytes: Int(Self.logBytesMax) * 2))
          // The process goes on at the new end, for it writes by appending.
          try Files.open(path, flags: OpenFlags.writeOnly | OpenFlags.truncate).close()
        } catch {
          Console.error("\(name): its log cannot be trimmed: \(error)")
        }
      }
    }
  }

  private func logPath(_ name: String) -> String { "\(logDirectory)/\(name).log" }

  /// One life of the program, on a thread that lives as long.
  private func once(name: String, program: String, arguments: [String]) async -> Result<ExitStatus, SyscallError> {
    let slot = ProcessSlot()
    let log = logPath(name)
    let onEvent = self.onEvent
    return await withTaskCancellationHandler {
      do throws(SyscallError) {
        return .success(
          try await onFreshThread { () throws(SyscallError) -> ExitStatus in
            let file = try Files.open(
              log, flags: OpenFlags.writeOnly | OpenFlags.create | OpenFlags.append, mode: 0o600)
            let descriptor = file.withRaw { $0 }
            let process = RunningProcess(
              try ChildProcess.start(
                program, arguments: [program] + arguments, environment: Self.environment,
                stdio: [nil, descriptor, descriptor], endsWithCaller: true))
            try file.close()
            onEvent(.started(name, processID: process.processID))
            slot.take(process)
            defer { slot.leave() }
            return try process.wait()
          })
      } catch {
        return .failure(error)
      }
    } onCancel: {
      slot.stop()
    }
  }

  /// What the processes get of our own environment.
  private static var environment: [String] {
    ["PATH", "HOME", "LANG", "TZ", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SWIFT_BACKTRACE"].compactMap { name in
      environmentVariable(name).map { "\(name)=\($0)" }
    }
  }
}

/// A started program that one thread waits for and others may signal.
private final class RunningProcess: Sendable {
  private let process: ChildProcess

  init(_ process: consuming ChildProcess) { self.process = process }

  var processID: Int32 { process.processID }

  func wait() throws(SyscallError) -> ExitStatus { try process.wait() }

  /// It may have ended meanwhile: then there is nobody to tell.
  func signal(_ number: Int32) { try? process.signal(number) }
}

/// The process of one life, and whether it shall stop; either may come first.
private final class ProcessSlot: Sendable {
  private struct State {
    var process: RunningProcess?
    var shallStop = false
  }
  private let state = Mutex(State())

  func take(_ process: RunningProcess) {
    let shallStop = state.withLock { state in
      state.process = process
      return state.shallStop
    }
    if shallStop { stop() }
  }

  func leave() { state.withLock { $0.process = nil } }

  /// Asks the process to end, and kills it where it does not in time.
  func stop() {
    let process = state.withLock { state in
      state.shallStop = true
      return state.process
    }
    process?.signal(15)
    // Its parent is the slot: as soon as the process is gone there is nothing left to kill.
    Task.detached { [self] in
      try? await Task.sleep(for: Supervisor.stopGrace)
      state.withLock { $0.process }?.signal(9)
    }
  }
}
