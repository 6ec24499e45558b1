import ArgumentParser
import CRIClient
import Kernel
import Synchronization

/// Where the daemon listens. The same options stand before the subcommand too: `martlet --run /tmp/a ps`.
struct ConnectionOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The daemon's socket.", valueName: "path"))
  var socket: String?

  @Option(help: ArgumentHelp("The daemon's run directory, where its socket is.", valueName: "directory"))
  var run: String?

  /// What was asked for, here or before the subcommand or by MARTLET_SOCKET; else the daemon's default.
  var socketPath: String {
    let given = LeadingOptions.given
    if let socket { return socket }
    if let run { return "\(run)/martlet.sock" }
    if let socket = given.socket { return socket }
    if let run = given.run { return "\(run)/martlet.sock" }
    if let socket = environmentVariable("MARTLET_SOCKET"), !socket.isEmpty { return socket }
    return "/run/martlet/martlet.sock"
  }

  /// Runs `body` with a client of the daemon.
  func withClient<Result: Sendable>(
    _ body: (CRIClient) async throws -> Result
  ) async throws -> Result {
    guard Files.exists(socketPath) else { throw Failure.noDaemon(socketPath, "no socket is there") }
    return try await CRIClient.connected(to: socketPath, body)
  }
}

/// How answers are written.
struct OutputOptions: ParsableArguments {
  enum Format: String, ExpressibleByArgument, CaseIterable, Sendable { case table, json, yaml }

  @Option(name: [.short, .long], help: "How to write the answer.")
  var output: Format?

  @Flag(name: .customLong("no-color"), help: "Plain text, also on a terminal (as does the variable NO_COLOR).")
  var noColor = false

  func format(default fallback: Format = .table) -> Format { output ?? LeadingOptions.given.output ?? fallback }

  /// Colours and cursor movement on `stream`.
  func styled(_ stream: Terminal.Stream) -> Bool {
    if noColor || LeadingOptions.given.noColor { return false }
    if let variable = environmentVariable("NO_COLOR"), !variable.isEmpty { return false }
    return Terminal.isTerminal(stream) && environmentVariable("TERM") != "dumb"
  }
}

/// Global options that were written before the subcommand, where the argument parser does not look for them.
struct LeadingOptions: Equatable, Sendable {
  var socket: String?
  var run: String?
  var output: OutputOptions.Format?
  var noColor = false

  private static let stored = Mutex(LeadingOptions())

  static var given: LeadingOptions {
    get { stored.withLock { $0 } }
    set { stored.withLock { $0 = newValue } }
  }

  /// Takes global options from the front of `arguments`; everything from the first other word on is left alone.
  static func split(_ arguments: [String]) -> (LeadingOptions, rest: [String]) {
    var options = LeadingOptions()
    var rest = arguments[...]
    while let word = rest.first {
      if word == "--no-color" {
        options.noColor = true
        rest = rest.dropFirst()
        continue
      }
      guard let (name, value, used) = option(in: rest), options.set(name, value) else { break }
      rest = rest.dropFirst(used)
    }
    return (options, Array(rest))
  }

  private static func option(in rest: ArraySlice<String>) -> (name: String, value: String, used: Int)? {
    guard let word = rest.first, word.hasPrefix("-") else { return nil }
    if let equals = word.firstIndex(of: "=") {
      return (String(word[..<equals]), String(word[word.index(after: equals)...]), 1)
    }
    guard let value = rest.dropFirst().first else { return nil }
    return (word, value, 2)
  }

  /// - Returns: false where `name` is no global option or `value` does not fit it; the argument parser says so then.
  private mutating func set(_ name: String, _ value: String) -> Bool {
    switch name {
    case "--socket": socket = value
    case "--run": run = value
    case "-o", "--output":
      guard let format = OutputOptions.Format(rawValue: value) else { return false }
      output = format
    default: return false
    }
    return true
  }
}
