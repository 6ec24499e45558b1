import ArgumentParser
import ImageStore
import JSON
import Kernel
import Logging

struct UnpackCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "unpack",
    abstract: "Unpack an image: one of 500 MB in five layers, or another of hack/images.",
    discussion: """
      Martlet imports the OCI layout: every digest checked, five layer directories. The others get the same blobs: tar
      and bsdtar one layer after another, umoci a whole bundle, a containerd that runs (hack/bench starts one) the layout as
      an archive, which it imports and unpacks. Nobody is asked to sync to disk; removal is not timed.
      """)

  @OptionGroup var options: BenchOptions
  @Option(name: .long, help: "How often each is measured.")
  var rounds = 3
  @Option(name: .long, help: "Which of the images.")
  var image = "five-layers"
  @Option(name: .long, help: "Socket of a containerd without images of a namespace mt-bench, measured in turns.")
  var containerdAddress: String?

  func run() async throws {
    let work = "\(options.work)/unpack"
    defer { try? Files.removeTree(work) }
    var contenders: [Contender] = []
    for compression in ["gzip", "zstd"] {
      let layout = "\(options.images)/\(image)" + (compression == "gzip" ? "" : "-\(compression)")
      contenders.append(
        Contender(name: "martlet_\(compression)") { try await Self.importOnce(layout, into: "\(work)/martlet") })
      contenders += try Self.peers(layout: layout, compression: compression, work: work)
      if let containerdAddress {
        contenders.append(
          try await Self.containerd(containerdAddress, layout: layout, compression: compression, work: work))
      }
    }
    contenders = try contenders.map { contender in
      guard let sync = TimedProgram("sync", []) else { throw BenchError("sync is not installed; run hack/setup") }
      // What an earlier one wrote shall be on disk before the next is timed.
      return Contender(name: contender.name) {
        _ = try await sync.once()
        return try await contender.once()
      }
    }
    let series = try await interleaved(contenders, rounds: rounds, warmUp: 1)
    var report = Report()
    for contender in contenders {
      report.set(contender.name, series[contender.name] ?? Series(), unit: "s", scale: 0.001)
    }
    for (ours, theirs) in [
      ("martlet_gzip", "tar_gzip"), ("martlet_gzip", "umoci_gzip"), ("martlet_gzip", "bsdtar_gzip"),
      ("martlet_zstd", "tar_zstd"), ("martlet_zstd", "bsdtar_zstd"),
      ("martlet_gzip", "containerd_gzip"), ("martlet_zstd", "containerd_zstd"),
    ] {
      guard let first = series[ours], let second = series[theirs] else { continue }
      report.ratio(theirs, first, to: second)
    }
    try options.show(report, as: "unpack")
  }

  private static func importOnce(_ layout: String, into root: String) async throws -> Double {
    defer { try? Files.removeTree(root) }
    try Files.makeDirectories(root)
    var log = Logger(label: "martlet-bench")
    log.logLevel = .error
    let store = ImageStore(root: root, log: log)
    _ = try await store.start()
    let elapsed = try await milliseconds { _ = try await store.importArchive(path: layout) }
    // Making it durable goes on after the import; the next contender shall not wait for it.
    await store.shutdown()
    return elapsed
  }

  private static func peers(layout: String, compression: String, work: String) throws -> [Contender] {
    let layers = try layerPaths(layout)
    var contenders = [
      try untar("tar", ["--extract", "--numeric-owner", "--\(compression)", "--file"], "--directory", layers, work),
      try untar("bsdtar", ["-x", "-p", "--numeric-owner", "-f"], "-C", layers, work),
    ]
    if compression == "gzip" { contenders.append(try umoci(layout, work)) }
    return contenders.map { Contender(name: "\($0.name)_\(compression)", once: $0.once) }
  }

  private static func untar(
    _ name: String, _ arguments: [String], _ directoryOption: String, _ layers: [String], _ work: String
  ) throws -> Contender {
    let target = "\(work)/\(name)"
    let runs = try layers.map { layer in
      guard let run = TimedProgram(name, arguments + [layer, directoryOption, target]) else {
        throw BenchError("\(name) is not installed; run hack/setup")
      }
      return run
    }
    return Contender(name: name) {
      defer { try? Files.removeTree(target) }
      try Files.makeDirectories(target)
      var total = 0.0
      for run in runs { total += try await run.once() }
      return total
    }
  }

  private static func umoci(_ layout: String, _ work: String) throws -> Contender {
    let target = "\(work)/umoci"
    guard let run = TimedProgram("umoci", ["unpack", "--image", "\(layout):latest", target]) else {
      throw BenchError("umoci is not installed; run hack/setup")
    }
    return Contender(name: "umoci") {
      defer { try? Files.removeTree(target) }
      try Files.makeDirectories(work)
      return try await run.once()
    }
  }

  private static func containerd(
    _ address: String, layout: String, compression: String, work: String
  ) async throws -> Contender {
    let archive = "\(work)/containerd-\(compression).tar"
    let name = "localhost/mt-bench-\(compression)"
    let common = ["--address", address, "--namespace", "mt-bench", "images"]
    guard let pack = TimedProgram("tar", ["--create", "--file", archive, "--directory", layout, "."]),
      let unpack = TimedProgram("ctr", common + ["import", "--base-name", name, archive]),
      let remove = TimedProgram("ctr", common + ["remove", "--sync", "\(name):latest"])
    else { throw BenchError("ctr is not installed; run hack/containerd install") }
    try Files.makeDirectories(work)
    _ = try await pack.once()
    return Contender(name: "containerd_\(compression)") {
      let elapsed = try await unpack.once()
      // Its blobs and snapshots go with it; or the next would find them unpacked.
      _ = try await remove.once()
      return elapsed
    }
  }

  /// The blobs of the layout's only image, lowest first.
  private static func layerPaths(_ layout: String) throws -> [String] {
    func blob(_ digest: JSONValue?) throws -> String {
      guard let text = digest?.string, let colon = text.firstIndex(of: ":") else {
        throw BenchError("\(layout) is not an OCI layout of one image; make it with hack/images five-layers")
      }
      return "\(layout)/blobs/sha256/\(text[text.index(after: colon)...])"
    }
    let index = try JSONValue.parse(try Files.read("\(layout)/index.json"))
    let manifest = try JSONValue.parse(try Files.read(try blob(index["manifests"]?[0]?["digest"])))
    return try (manifest["layers"]?.array ?? []).map { try blob($0["digest"]) }
  }
}
