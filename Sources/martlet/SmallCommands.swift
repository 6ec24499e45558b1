import ArgumentParser
import CRIClient
import CRIModel
import JSON
import Kernel

/// `martlet version`: this program's version and the daemon's.
struct VersionCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version",
    abstract: "Show the versions of this program and of the daemon.",
    discussion: """
      EXAMPLES
        martlet version
        martlet version --client     without asking the daemon
      """)

  @Flag(help: "Only this program's.")
  var client = false

  @OptionGroup var outputOptions: OutputOptions
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    var value: JSONObject = ["client": .string(Martlet.version)]
    if !client {
      let answer = try await connection.withClient { try await $0.version() }
      value["runtime"] = .string(answer.runtimeName)
      value["runtimeVersion"] = .string(answer.runtimeVersion)
      value["runtimeAPIVersion"] = .string(answer.runtimeApiVersion)
    }
    let format = outputOptions.format()
    if format != .table { return try Console.value(.object(value), as: format) }
    try Console.line("martlet \(Martlet.version)")
    guard let name = value["runtime"]?.string else { return }
    let version = value["runtimeVersion"]?.string ?? ""
    try Console.line("\(name) \(version), CRI \(value["runtimeAPIVersion"]?.string ?? "")")
  }
}

/// `martlet completions`: what makes a shell complete this program's words.
struct CompletionsCommand: AsyncParsableCommand {
  enum Shell: String, ExpressibleByArgument, CaseIterable { case bash, zsh, fish }

  static let configuration = CommandConfiguration(
    commandName: "completions",
    abstract: "Print a completion script for a shell.",
    discussion: """
      EXAMPLES
        martlet completions bash > /etc/bash_completion.d/martlet
        martlet completions zsh > "${fpath[1]}/_martlet"
        martlet completions fish > ~/.config/fish/completions/martlet.fish
      """)

  @Argument(help: "The shell.")
  var shell: Shell

  func run() async throws {
    let wanted: CompletionShell =
      switch shell {
      case .bash: .bash
      case .zsh: .zsh
      case .fish: .fish
      }
    try Console.line(Martlet.completionScript(for: wanted))
  }
}
