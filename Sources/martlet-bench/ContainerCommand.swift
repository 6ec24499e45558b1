import ArgumentParser
import ImageStore
import JSON
import Kernel
import Logging

struct ContainerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "container",
    abstract: "Create, start, exit and delete a container of a static `true`.",
    discussion: """
      The same namespaces, mounts, cgroup, capabilities and seccomp program for all: the runtime engine in this process, \
      martletd over its CRI socket, `crun run` and `runc run` of one bundle, and the kernel's floor: bare (clone3, overlay, \
      proc, tmpfs, pivot, exec, exit), and whole, with the cgroup and the directories of the one container made and \
      removed as all others do it. Martlet makes an overlay for each container; the bundle's root is a directory that is there.
      """)

  @OptionGroup var options: BenchOptions
  @Option(name: .long, help: "How often each is measured.")
  var rounds = 100
  @Flag(name: .long, help: "Leave the daemon out, to look at the engine alone.")
  var engineOnly = false

  func run() async throws {
    try options.requireIsolation()
    let work = "\(options.work)/container"
    let group = "mt-bench-\(CurrentProcess.id)"
    defer { try? Files.removeTree(work) }
    let bundle = try Bundle.make(
      in: "\(work)/bundle", program: try await Self.program(options.images, work: work), cgroupPath: "/\(group)/bundle")
    let parent = try CgroupHierarchy.discover().group(try CgroupPath(group))
    try parent.create()
    defer { try? parent.remove() }

    var report = Report()
    var contenders = try await Self.peers(work: work, bundle: bundle, group: parent, &report)
    let engine = try await EngineContainers(work: "\(work)/engine", bundle: bundle)
    contenders.append(Contender(name: "martlet") { try await engine.once() })
    let series =
      engineOnly
      ? try await interleaved(contenders, rounds: rounds, warmUp: 3)
      : try await withDaemon(work, &contenders)
    try await engine.close()
    report.add(series, of: contenders)
    if let ours = series["martlet"] {
      for peer in ["crun", "runc", "floor", "whole_floor"] {
        if let theirs = series[peer] { report.ratio(peer, ours, to: theirs) }
      }
    }
    try options.show(report, as: "container")
  }

  private func withDaemon(_ work: String, _ contenders: inout [Contender]) async throws -> [String: Series] {
    try await Daemon.serving(work: "\(work)/daemon") { _, client in
      let service = try await CRIContainers(client: client, images: options.images, logs: "\(work)/logs")
      contenders.append(Contender(name: "martlet_cri") { try await service.once() })
      let series = try await interleaved(contenders, rounds: rounds, warmUp: 3)
      try await service.close()
      return series
    }
  }

  /// The program of the `true` image, unpacked.
  private static func program(_ images: String, work: String) async throws -> String {
    var log = Logger(label: "martlet-bench")
    log.logLevel = .error
    let store = ImageStore(root: "\(work)/images", log: log)
    _ = try await store.start()
    let image = try await store.importArchive(path: "\(images)/true")
    await store.shutdown()
    guard let layer = image.first?.layerDirectories.first else { throw BenchError("the image \(images)/true is empty") }
    return "\(layer)/bin/true"
  }

  /// The kernel's floor, crun and runc; the report gets their versions.
  private static func peers(
    work: String, bundle: Bundle, group: Cgroup, _ report: inout Report
  ) async throws -> [Contender] {
    let floor = try Floor(
      program: "\(try programDirectory())/martlet-floor", lower: bundle.root, work: "\(work)/floor",
      cgroup: group.directory)
    var contenders = [
      Contender(name: "floor") { try await floor.once(.bare) },
      Contender(name: "whole_floor") { try await floor.once(.whole) },
    ]
    let run = ["run", "--bundle", bundle.directory, "bundle"]
    for (name, arguments) in [
      ("crun", ["--root", "\(work)/crun", "--cgroup-manager=cgroupfs"] + run),
      ("runc", ["--root", "\(work)/runc"] + run),
    ] {
      guard let peer = TimedProgram(name, arguments) else {
        throw BenchError("\(name) is not installed; run hack/setup")
      }
      report.set(name, try await peer.version())
      contenders.append(Contender(name: name) { try await peer.once() })
    }
    return contenders
  }
}
