/**
 * Where TensorFlow comes from: brings the archives that a request names into the cache folder. tsrun's process.
 */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { LaunchError } from '../errors';
import { download, readPage, sha256OfFile, shownUrl } from './download';
import { ACCEPT, chooseWheel, type Machine, pageUrl, parseIndexPage, requirementsOfExtra } from './package_index';
import { configuredIndex } from './pip_config';
import type { InstallRequest } from './request';
import type { Runner } from './runner';
import { readEntry, zipEntries } from './zip';

/** The TensorFlow project's own place. */
const OFFICIAL_URL = 'https://storage.googleapis.com/tensorflow';

/** What is asked for, as one text. */
export function describeSource({ source, tensorflow, isGpu }: InstallRequest): string {
  switch (source.kind) {
    case 'index':
      return `${projectOf(isGpu, process.arch)} ${tensorflow}`;
    case 'official':
      return `official ${isGpu ? 'GPU' : 'CPU'} archive ${tensorflow}`;
    case 'file':
      return source.file;
    case 'url':
      return shownUrl(source.url);
  }
}

/** Where there is no GPU, the wheel without CUDA is half as large; for arm64 the plain one has none. */
export const projectOf = (isGpu: boolean, arch: string): string => (isGpu || arch === 'arm64' ? 'tensorflow' : 'tensorflow-cpu');

/** From 2.16 on the version stands in the folder, not in the name. */
export function officialUrl(version: string, isGpu: boolean, arch: string): string {
  const machine = arch === 'arm64' ? 'aarch64' : 'x86_64';
  const kind = isGpu ? 'gpu' : 'cpu';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > 2 || minor >= 16
    ? `${OFFICIAL_URL}/versions/${version}/libtensorflow-${kind}-linux-${machine}.tar.gz`
    : `${OFFICIAL_URL}/libtensorflow/libtensorflow-${kind}-linux-${machine}-${version}.tar.gz`;
}

const machine = (): Machine => {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } };
  return { arch: process.arch, glibc: header.glibcVersionRuntime };
};

/** @returns the archive of TensorFlow, then NVIDIA's wheels @throws LaunchError one cannot be had */
export async function archivesFor(request: InstallRequest, cache: string, runner: Runner): Promise<string[]> {
  const folder = path.join(cache, 'downloads');
  const { source, sha256, isGpu, tensorflow } = request;
  const fromUrl = async (url: string): Promise<string> => {
    const file = path.join(folder, path.posix.basename(new URL(url).pathname));
    await download(url, file, sha256, runner.progress);
    return file;
  };
  const first = async (): Promise<string> => {
    switch (source.kind) {
      case 'index':
        return fromIndex(projectOf(isGpu, process.arch), `==${tensorflow}`, request, folder, runner);
      case 'official':
        return fromUrl(officialUrl(tensorflow, isGpu, process.arch));
      case 'url':
        return fromUrl(source.url);
      case 'file': {
        if (!existsSync(source.file)) throw new LaunchError(`--from: there is no file ${source.file}`);
        if (sha256 !== undefined && (await sha256OfFile(source.file)) !== sha256)
          throw new LaunchError(`${source.file} has not the check sum of --sha256`, 3);
        return source.file;
      }
    }
  };
  const archive = await first();
  return isGpu && archive.endsWith('.whl') ? [archive, ...(await nvidiaWheels(archive, request, folder, runner))] : [archive];
}

async function fromIndex(project: string, specifier: string, request: InstallRequest, folder: string, runner: Runner): Promise<string> {
  const index = request.indexUrl ?? configuredIndex(runner.env, readIfThere);
  const page = await readPage(pageUrl(index, project), ACCEPT);
  const wheel = chooseWheel(parseIndexPage(page.text, page.contentType, page.url), project, specifier, machine());
  const file = path.join(folder, path.basename(wheel.name));
  await download(wheel.url, file, wheel.sha256, runner.progress);
  return file;
}

/** CUDA's libraries, in the versions that this TensorFlow was built with. */
async function nvidiaWheels(wheel: string, request: InstallRequest, folder: string, runner: Runner): Promise<string[]> {
  const metadata = (await zipEntries(wheel)).find(({ name }) => /^[^/]+\.dist-info\/METADATA$/.test(name));
  const needed = metadata ? requirementsOfExtra((await readEntry(wheel, metadata)).toString('utf8'), 'and-cuda') : [];
  if (needed.length === 0)
    throw new LaunchError(`${wheel} names no CUDA libraries (no extra 'and-cuda'): take 2.15 or newer, --tensorflow VERSION`, 3);
  const files: string[] = [];
  for (const { project, specifier } of needed) files.push(await fromIndex(project, specifier, request, folder, runner));
  return files;
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
