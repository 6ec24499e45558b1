package import Kernel

/// What a one-time URL stands for: the arguments of CRI's Exec, Attach or PortForward, already checked by the caller.
package struct StreamRequest: Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    case exec(command: [String])
    case attach
    /// Connections to ports of a sandbox, which `containerID` then names.
    case portForward
  }

  package var kind: Kind
  package var containerID: String
  package var terminal: Bool
  package var input: Bool
  package var output: Bool
  package var errors: Bool

  package init(kind: Kind, containerID: String, terminal: Bool, input: Bool, output: Bool, errors: Bool) {
    self.kind = kind
    self.containerID = containerID
    self.terminal = terminal
    self.input = input
    self.output = output
    self.errors = errors
  }
}

/// A process whose standard streams a session carries: our ends of them, and what can be done to it.
///
/// The descriptors become non-blocking, which for a terminal or socket holds for everybody who shares the open file:
/// hand over an end that nobody else reads or writes, or that its other users poll. They may be pipes, sockets or
/// terminals, but no regular files.
package struct StreamedProcess: ~Copyable, Sendable {
  /// Where standard input is written; closing it is the end of input.
  package var input: OwnedFD?
  /// Where standard output (of a terminal: everything) is read.
  package var output: OwnedFD?
  package var errors: OwnedFD?
  /// Changes the terminal's size; does nothing without one.
  package var resize: @Sendable (TerminalSize) async -> Void
  /// Called once the client has ended its input and `input` is closed, for a stream whose other end is not ours alone.
  package var endInput: @Sendable () async -> Void
  /// Waits for the end: the exit code, or nil where it does not matter (attach). Returns soon after `abandon`, and
  /// when its task is cancelled.
  package var wait: @Sendable () async throws -> Int32?
  /// The client has gone before the end. An exec kills its process; an attach leaves the container alone.
  package var abandon: @Sendable () async -> Void

  package init(
    input: consuming OwnedFD?, output: consuming OwnedFD?, errors: consuming OwnedFD?,
    resize: @Sendable @escaping (TerminalSize) async -> Void = { _ in },
    endInput: @Sendable @escaping () async -> Void = {},
    abandon: @Sendable @escaping () async -> Void = {},
    wait: @Sendable @escaping () async throws -> Int32?
  ) {
    self.input = input
    self.output = output
    self.errors = errors
    self.resize = resize
    self.endInput = endInput
    self.abandon = abandon
    self.wait = wait
  }
}

/// How the streaming server starts or finds the processes behind its URLs. An error thrown here is told to the client.
package struct StreamingHandlers: Sendable {
  /// Starts `command` in the container.
  package var exec: @Sendable (_ request: StreamRequest, _ command: [String]) async throws -> StreamedProcess
  /// Joins the streams of the container's own process.
  package var attach: @Sendable (_ request: StreamRequest) async throws -> StreamedProcess
  /// Connects to a port of the sandbox's loopback; gives a socket.
  package var dial: @Sendable (_ sandboxID: String, _ port: UInt16) async throws -> OwnedFD

  package init(
    exec: @Sendable @escaping (_ request: StreamRequest, _ command: [String]) async throws -> StreamedProcess,
    attach: @Sendable @escaping (_ request: StreamRequest) async throws -> StreamedProcess,
    dial: @Sendable @escaping (_ sandboxID: String, _ port: UInt16) async throws -> OwnedFD
  ) {
    self.exec = exec
    self.attach = attach
    self.dial = dial
  }

  func open(_ request: StreamRequest) async throws -> StreamedProcess {
    switch request.kind {
    case .exec(let command): try await exec(request, command)
    case .attach: try await attach(request)
    case .portForward: throw StreamingError.noProcess
    }
  }
}

/// Why a URL could not be made or a server not be started.
package enum StreamingError: Error, Equatable, CustomStringConvertible {
  /// Too many URLs wait to be used.
  case tooManyPending(limit: Int)
  /// The server does not listen (yet, or any more).
  case notListening
  /// A port-forward has no process.
  case noProcess
  /// The address could not be bound.
  case bind(address: String, reason: String)

  package var description: String {
    switch self {
    case .tooManyPending(let limit):
      "\(limit) streaming URLs are waiting to be used: use them, or wait until they expire"
    case .noProcess: "a port-forward is no process"
    case .notListening: "the streaming server is not listening"
    case .bind(let address, let reason): "bind \(address): \(reason): choose another streaming port"
    }
  }
}
