internal import ImageStore
internal import Kernel
internal import OCISpec
internal import PodRuntime

/// The volumes that an image declares and its container brings no mount for: a directory for each below the container's
/// own storage, filled with what the image has there, and removed with the container.
struct AnonymousVolumes {
  let images: ImageStore

  /// VOLUMEs of one image.
  private static let volumesMax = 64

  /// Makes and fills what is missing and adds the mounts. A volume that is there already, since a daemon restarted, is
  /// taken as it is.
  func add(to compiled: inout CompiledContainer, image: ImageRecord, places: ContainerPlaces) async throws {
    let paths = try Self.paths(image.config.volumes)
    let directory = places.storageDirectory + "/volumes"
    for (number, path) in paths.enumerated() {
      let taken = compiled.specification.mounts.contains { Self.normal($0.destination) == path }
      if taken { continue }
      let volume = "\(directory)/\(number)"
      if !Files.exists(volume) {
        let temporary = "\(directory)/.tmp-\(number)"
        try Files.makeDirectories(directory, mode: 0o700)
        try Files.removeTree(temporary)
        try Files.makeDirectories(temporary)
        try Files.chmod(temporary, mode: 0o755)
        try await images.fill(temporary, from: image, at: path)
        try Files.rename(temporary, to: volume)
      }
      var mount = RuntimeSpec.Mount(
        destination: path, type: "bind", source: volume, options: ["bind", "rprivate", "rw"])
      // Filled with the image's own ids: a pod's users see them as they see the image's.
      mount.uidMappings = compiled.specification.linux.uidMappings
      mount.gidMappings = compiled.specification.linux.gidMappings
      // Below what it lies in, above what lies in it.
      let place = compiled.specification.mounts.firstIndex { Self.normal($0.destination).hasPrefix(path + "/") }
      compiled.specification.mounts.insert(mount, at: place ?? compiled.specification.mounts.endIndex)
    }
  }

  /// Absolute, each once, outer ones first.
  static func paths(_ declared: [String]) throws(RequestRefusal) -> [String] {
    guard declared.count <= volumesMax else {
      throw .invalid("image", "declares \(declared.count) volumes, at most \(volumesMax) are made")
    }
    var paths: Set<String> = []
    for text in declared {
      let path = normal(text)
      guard path != "/", path.utf8.count <= 4095, !path.utf8.contains(0) else {
        throw .invalid("image", "declares a volume at \(ImageReference.shown(text)), which no container can have")
      }
      paths.insert(path)
    }
    return paths.sorted { ($0.utf8.count, $0) < ($1.utf8.count, $1) }
  }

  /// From the root, without "." and ".." and doubled slashes: an image's author may write anything.
  private static func normal(_ path: String) -> String {
    var components: [Substring] = []
    for component in path.split(separator: "/") where component != "." {
      if component == ".." { _ = components.popLast() } else { components.append(component) }
    }
    return "/" + components.joined(separator: "/")
  }
}
