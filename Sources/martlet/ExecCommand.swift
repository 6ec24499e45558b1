import ArgumentParser
import CRIClient
import CRIModel
import Kernel
import SwiftProtobuf

/// `martlet exec`: a command in a running container.
struct ExecCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exec",
    abstract: "Run a command in a container.",
    discussion: """
      Ends with the command's own exit code.

      EXAMPLES
        martlet exec -it web -- sh                     a shell
        martlet exec web -c side -- cat /etc/hosts     a command in one of several containers
        tar c . | martlet exec -i web -- tar x -C /tmp copy files in
      """)

  @OptionGroup var stream: StreamOptions

  @Option(name: [.short, .long], help: "The container, where the pod has several.")
  var container: String?

  @Argument(help: "A container or pod: name, pod/container, or the beginning of an id.")
  var target: String

  @Argument(parsing: .captureForPassthrough, help: "The command and its arguments.")
  var command: [String]

  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let words = command.first == "--" ? Array(command.dropFirst()) : command
    guard !words.isEmpty else { throw ValidationError("name a command: martlet exec \(target) -- sh") }
    let terminal = try stream.checkedTerminal()
    let outcome = try await connection.withClient { client in
      let found = try await Inventory.load(client).container(target, in: container)
      let url = try await client.exec(
        CRIExecRequest.with {
          $0.containerID = found.id
          $0.cmd = words
          $0.tty = terminal
          $0.stdin = stream.interactive
          $0.stdout = true
          $0.stderr = !terminal
        })
      return try await StreamRelay(terminal: terminal, input: stream.interactive).run(url)
    }
    try StreamRelay.finish(outcome)
  }
}

/// `martlet attach`: the streams of a container's own process.
struct AttachCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "attach",
    abstract: "Join a container's own input and output.",
    discussion: """
      The container must have been created with stdin for -i, and with a terminal for -t.

      EXAMPLES
        martlet attach web          its output from now on
        martlet attach -it shell    type into it
      """)

  @OptionGroup var stream: StreamOptions

  @Option(name: [.short, .long], help: "The container, where the pod has several.")
  var container: String?

  @Argument(help: "A container or pod: name, pod/container, or the beginning of an id.")
  var target: String

  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let terminal = try stream.checkedTerminal()
    let outcome = try await connection.withClient { client in
      let found = try await Inventory.load(client).container(target, in: container)
      let url = try await client.attach(
        CRIAttachRequest.with {
          $0.containerID = found.id
          $0.tty = terminal
          $0.stdin = stream.interactive
          $0.stdout = true
          $0.stderr = !terminal
        })
      return try await StreamRelay(terminal: terminal, input: stream.interactive).run(url)
    }
    try StreamRelay.finish(outcome)
  }
}

struct StreamOptions: ParsableArguments {
  @Flag(name: [.customShort("i"), .customLong("stdin")], help: "Pass standard input on.")
  var interactive = false

  @Flag(name: [.customShort("t"), .customLong("tty")], help: "Give the process a terminal.")
  var terminal = false

  /// Whether the process gets a terminal.
  /// - Throws: where -it was asked for and this side has no terminal to pass on.
  func checkedTerminal() throws -> Bool {
    if terminal, interactive, !Terminal.isTerminal(.input) {
      throw Failure(
        "standard input is no terminal, so -t cannot pass one on", hint: "leave -t out: martlet exec -i …",
        code: Failure.usageCode)
    }
    return terminal
  }
}

/// Carries this program's standard streams to and from a process.
struct StreamRelay: Sendable {
  let terminal: Bool
  let input: Bool

  func run(_ url: String) async throws -> StreamingOutcome {
    let local = terminal && Terminal.isTerminal(.input)
    let (sizes, sized) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    if local {
      if input { try Terminal.enter(.raw) }
      Interruption.windowChanged { sized.yield() }
      sized.yield()
    }
    defer {
      Interruption.windowChanged(nil)
      Terminal.restore()
    }
    let reader = input ? try InterruptibleReader(.input) : nil
    return try await StreamingSession.run(
      url: url,
      onOutput: { stream, bytes in
        try await StandardStream.stream(Array(bytes), to: stream == .output ? .output : .errors)
      },
      input: { session in
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            for await _ in sizes {
              guard let size = Terminal.size(of: .input) else { continue }
              try await session.resize(columns: size.columns, rows: size.rows)
            }
          }
          if let reader {
            group.addTask {
              while case let bytes = try await reader.read(upTo: StreamingSession.chunkBytes), !bytes.isEmpty {
                try await session.send(bytes[...])
              }
              try await session.endInput()
            }
          }
          try await group.waitForAll()
        }
      })
  }

  /// Makes the process's exit code this program's.
  static func finish(_ outcome: StreamingOutcome) throws {
    switch outcome {
    case .exited(0): return
    case .exited(let code): throw ExitCode(code)
    case .failed(let message): throw Failure(message)
    }
  }
}
