import ArgumentParser
import JSON
import Kernel

/// `martlet-bench`: how fast containers, pods and image layers are, beside the peers and the kernel on the same machine in
/// the same run, and how fast the API server and a whole node are. `hack/bench` makes the surroundings it asks for.
@main
struct MartletBench: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martlet-bench",
    abstract: "Measure containers, pods, any CRI socket, unpacking, the API server, the scheduler and a whole node.",
    discussion: """
      Run it through hack/bench, which builds a release and gives it namespaces of its own.
      Every figure is a median, with the minimum beside it where that says more; compare only figures of one run.
      """,
    subcommands: [
      ContainerCommand.self, PodCommand.self, CRICommand.self, UnpackCommand.self, APICommand.self, ClusterCommand.self,
      DataplaneCommand.self,
      ScheduleCommand.self,
    ])
}

/// What every benchmark takes.
struct BenchOptions: ParsableArguments {
  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

  @Option(name: .long, help: "text or json: one object, units in the names.")
  var output = Format.text

  @Option(
    name: .long, help: "Directory, best on tmpfs, for what is made; all of it goes again.")
  var work: String

  @Option(name: .long, help: "Directory with the sample images (hack/images).")
  var images: String

  /// Prints the report in the asked form, as the value of `name`.
  func show(_ report: Report, as name: String) throws { try report.show(as: name, output) }

  /// The benchmark talks to pod addresses and makes links: only where nothing can leave the machine.
  func requireIsolation() throws {
    for entry in try Directory(path: "/sys/class/net").list() where entry.name != "lo" {
      throw BenchError("the network namespace has the link \(entry.name); run it through hack/bench")
    }
  }
}

/// What stops a benchmark.
struct BenchError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// Directory of this program, where its siblings lie.
func programDirectory() throws -> String { Files.parent(of: try Files.readLink("/proc/self/exe")) }
