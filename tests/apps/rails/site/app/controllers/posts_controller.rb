# SPDX-License-Identifier: MIT
require "socket"

class PostsController < ApplicationController
  def index
    @posts = Post.order(:id)
    @facts = facts
  end

  def show
    @post = Post.find(params[:id])
  end

  # ?sleep=MS answers late.
  def who
    sleep([60_000, params[:sleep].to_i].min / 1000.0)
    render json: facts.merge(posts: Post.count)
  end

  private

  def facts
    { request: "#{request.request_method} #{request.fullpath}", client: request.remote_ip,
      host: Socket.gethostname, pid: Process.pid }
  end
end
