internal import ArgumentParser
internal import Kernel
internal import Logging
internal import Synchronization

@main
enum Program {
  static func main() {
    DaemonSignal.run {
      await Martletd.main()
      return 0
    } onSignal: { signal in
      switch signal {
      case .terminate, .interrupt: Shutdown.request()
      case .hangup: break
      }
    }
  }
}

/// The wish to end, from whatever thread it comes, also before there is anything to end.
enum Shutdown {
  private struct State {
    var isWanted = false
    var task: Task<Void, any Error>?
  }
  private static let state = Mutex(State())

  static func request() {
    let task = state.withLock { state in
      state.isWanted = true
      return state.task
    }
    guard let task else { CurrentProcess.exitNow(0) }
    task.cancel()
  }

  static func ends(_ task: Task<Void, any Error>) {
    let isWanted = state.withLock { state in
      state.task = task
      return state.isWanted
    }
    if isWanted { task.cancel() }
  }
}

struct Martletd: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martletd",
    abstract: "Runs pods: the container runtime of a node, behind a CRI socket.",
    discussion: """
      Pods, containers and their logs go on while martletd is away; a new one finds them again.
      Needs root. SIGTERM and SIGINT end it in order.

        martletd --root /var/lib/martlet --run /run/martlet
        martletd config default > /etc/martlet/config.toml
      """,
    version: Daemon.version, subcommands: [Serve.self, Config.self], defaultSubcommand: Serve.self)
}

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Serve the CRI socket (what martletd does by itself).")

  @Option(help: "Images, layers and writable layers.")
  var root = "/var/lib/martlet"

  @Option(help: "Runtime state, on a file system that a reboot empties.")
  var run = "/run/martlet"

  @Option(help: "The CRI socket; martlet.sock in the run directory where not given.")
  var socket: String?

  @Option(help: "Configuration file; its drop-ins lie beside it in a directory with .d for .toml.")
  var config: String?

  @Option(help: "The martlet-shim program; the one beside this program where not given.")
  var shim: String?

  @Option(
    name: .customLong("pod-cidr"),
    help: "Addresses of pods, instead of the configuration's; at most one block a family.")
  var podBlocks: [String] = []

  @Option(name: .customLong("service-cidr"), help: "Virtual addresses of services, instead of the configuration's.")
  var serviceBlocks: [String] = []

  @Option(help: "trace, debug, info, notice, warning, error or critical.")
  var logLevel: String?

  func validate() throws {
    for (name, path) in [("root", root), ("run", run)] where !path.hasPrefix("/") {
      throw ValidationError("--\(name) \(path): must be absolute")
    }
    if let logLevel, Logger.Level(rawValue: logLevel) == nil {
      throw ValidationError("--log-level \(logLevel): is no level")
    }
  }

  func run() async throws {
    var configuration = try DaemonConfiguration.load(config ?? "/etc/martlet/config.toml", required: config != nil)
    if !podBlocks.isEmpty { configuration.podBlocks = podBlocks }
    if !serviceBlocks.isEmpty { configuration.serviceBlocks = serviceBlocks }
    guard let level = Logger.Level(rawValue: logLevel ?? configuration.logLevel) else {
      throw ValidationError("log-level \(configuration.logLevel) in the configuration: is no level")
    }
    guard CurrentProcess.effectiveUser == 0 else { throw ValidationError("martletd needs root") }
    LoggingSystem.bootstrap { _ in StderrLog(level: level) }
    let daemon = Daemon(
      configuration: configuration, root: root, run: run, socketPath: socket ?? "\(run)/martlet.sock", shimPath: shim,
      log: Logger(label: "martletd"))
    let serving = Task { try await daemon.serve() }
    Shutdown.ends(serving)
    do {
      try await serving.value
    } catch is CancellationError {
      return
    } catch {
      daemon.log.critical("martletd ends", metadata: ["error": "\(error)"])
      throw ExitCode.failure
    }
  }
}

struct Config: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print or check configuration.", subcommands: [Default.self, Check.self])

  struct Default: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the built-in configuration, with comments.")

    func run() throws {
      try StandardStream.write(Array(DaemonConfiguration().text.utf8), to: .output)
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Read a configuration and its drop-ins and print what comes of them; fails at the first mistake.")

    @Argument(help: "The file.")
    var path = "/etc/martlet/config.toml"

    func run() throws {
      let configuration = try DaemonConfiguration.load(path, required: true)
      try StandardStream.write(Array(configuration.text.utf8), to: .output)
    }
  }
}
