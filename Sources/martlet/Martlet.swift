import ArgumentParser
import Kernel

/// The root command: what `martlet` alone says, and the way from an error to an exit code.
struct Martlet: AsyncParsableCommand {
  static let version = "0.1.0"

  static let configuration = CommandConfiguration(
    commandName: "martlet",
    abstract: "Run and look at pods on this node.",
    discussion: """
      Talks to martletd over its CRI socket. Start the daemon first: sudo martletd

      EXAMPLES
        martlet play app.yaml          run what a manifest says
        martlet ps                     what runs here
        martlet logs -f web            follow a container's output
        martlet exec -it web -- sh     a shell in it
        martlet image pull nginx:1.27  fetch an image

      These options may stand before or after the command's name:
        --socket PATH, --run DIRECTORY, --output table|json|yaml, --no-color

      EXIT CODES
        0  success          3  no such pod, container or image
        1  failure          4  the daemon cannot be reached
        2  wrong usage      exec: the exit code of the command itself
      """,
    version: version,
    subcommands: [],
    groupedSubcommands: [
      CommandGroup(
        name: "Pods and containers",
        subcommands: [
          PlayCommand.self, PsCommand.self, LogsCommand.self, ExecCommand.self, AttachCommand.self,
          InspectCommand.self, StopCommand.self, RmCommand.self, StatsCommand.self, TopCommand.self, PodCommand.self,
        ]),
      CommandGroup(name: "Images", subcommands: [ImageCommand.self]),
      CommandGroup(name: "A cluster", subcommands: [UpCommand.self, JoinCommand.self, TokenCommand.self]),
      CommandGroup(
        name: "This node",
        subcommands: [
          CheckCommand.self, NodeCommand.self, ServerCommand.self, ProxyCommand.self, DataplaneCommand.self,
          VersionCommand.self, CompletionsCommand.self,
        ]),
    ])
}

@main
enum Main {
  static func main() async {
    TerminalSignal.watch { Interruption.received($0) }
    let (leading, arguments) = LeadingOptions.split(Array(CommandLine.arguments.dropFirst()))
    LeadingOptions.given = leading
    var code: Int32 = 0
    do {
      var command = try Martlet.parseAsRoot(arguments)
      if var command = command as? any AsyncParsableCommand {
        try await command.run()
      } else {
        try command.run()
      }
    } catch {
      code = report(error)
    }
    Terminal.restore()
    // Threads that wait for input must not keep the process.
    CurrentProcess.exitNow(code)
  }

  /// Says what went wrong, and what to do about it.
  /// - Returns: the exit code.
  private static func report(_ error: any Error) -> Int32 {
    Terminal.restore()
    switch error {
    case let exit as ExitCode:
      return exit.rawValue
    case let error as SyscallError where error.errno == Errno.brokenPipe:
      // Whoever read our output has seen enough.
      return 128 + 13
    default:
      if let failure = Failure(error) {
        Console.error(failure.message)
        if let hint = failure.hint { Console.note(hint) }
        return failure.code
      }
    }
    // What remains is the argument parser's: help and version go to output, wrong usage does not.
    let message = Martlet.fullMessage(for: error)
    let success = Martlet.exitCode(for: error) == .success
    let stream: Terminal.Stream = success ? .output : .errors
    if !message.isEmpty { try? StandardStream.write(Array("\(message)\n".utf8), to: stream) }
    return success ? 0 : Failure.usageCode
  }
}
